import { expect, test } from 'vitest'
import {
  restoreCertificates,
  withCertificatesLater,
  withoutCertificates,
} from '../../src/app/certificates.ts'

const file = '/etc/ca.pem'

test('a process that speaks no TLS starts without certificates, and one whose children may need them gives them back', () => {
  const given = { PATH: '/bin', NODE_EXTRA_CA_CERTS: file, NODE_OPTIONS: '--max-old-space-size=99' }
  const { NODE_EXTRA_CA_CERTS: _file, ...others } = given
  expect(withoutCertificates(given)).toEqual(others)
  const later: NodeJS.ProcessEnv = { ...withCertificatesLater(given) }
  expect(later['NODE_EXTRA_CA_CERTS']).toBeUndefined()
  restoreCertificates(later)
  expect(later).toEqual(given)
})

test.each(['--require /agent.js', '--trace-gc -r=/agent.js', '--import file:///agent.mjs'])(
  'code that NODE_OPTIONS loads into each process has the certificates: %s',
  (options) => {
    const given = { NODE_EXTRA_CA_CERTS: file, NODE_OPTIONS: options }
    expect(withoutCertificates(given)).toEqual(given)
    expect(withCertificatesLater(given)).toEqual(given)
  },
)
