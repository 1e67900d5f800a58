import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { describe, expect, test } from 'vitest'
import { apiNames, apis } from '../../src/kafka/apis.ts'
import {
  assignment,
  consumerProtocolVersionMax,
  subscription,
} from '../../src/kafka/consumer-protocol.ts'
import {
  describedDefaults,
  describedLines,
  ownDefaults,
  ownLines,
  readDescriptions,
  versionsOf,
  type Description,
} from '../support/kafka-messages.ts'
import { jarsOf } from './clients.ts'

// Our table of messages against the descriptions that Kafka's own clients are generated from, which lie in the jar. Kafka 3.9 is the last
// with the oldest versions of each message, 4.x has the newest.

/** Where our default is another, and why. */
const ownChoices: Readonly<Record<string, string>> = {
  'ListOffsetsRequest replicaId': 'clients, who are no replica, may leave it out',
  'CreateTopicsResponse topics.errorMessage': 'no error has no text',
  'DescribeConfigsResponse results.configs.documentation': 'there may be none',
}

const messages = apiNames.flatMap((name) =>
  (['request', 'response'] as const).map((side) => {
    const { [side]: type, key, minVersion, maxVersion, flexibleFrom } = apis[name]
    const title = `${name.charAt(0).toUpperCase()}${name.slice(1)}${side === 'request' ? 'Request' : 'Response'}`
    return { title, type, key, minVersion, maxVersion, flexibleFrom }
  }),
)

const inner = [
  { title: 'ConsumerProtocolSubscription', type: subscription },
  { title: 'ConsumerProtocolAssignment', type: assignment },
].map((message) => ({
  ...message,
  key: undefined,
  minVersion: 0,
  maxVersion: consumerProtocolVersionMax,
  flexibleFrom: Number.POSITIVE_INFINITY,
}))

/** Versions of a message of ours that a jar describes too. */
function commonVersions(
  description: Description,
  { minVersion, maxVersion }: { minVersion: number; maxVersion: number },
): number[] {
  const { first, last } = versionsOf(description.validVersions)
  const start = Math.max(first, minVersion)
  return Array.from({ length: Math.min(last, maxVersion) - start + 1 }, (_, index) => start + index)
}

describe.each(['clients-3.9', 'kafka-4'] as const)('kafka-clients of %s', (jars) => {
  const path = jarsOf(jars).find((name) => /^kafka-clients-[\d.]+\.jar$/.test(basename(name)))
  const descriptions = readDescriptions(readFileSync(path ?? ''))

  test.each([...messages, ...inner])('$title has the same fields in every version', (message) => {
    const description = descriptions.get(message.title)
    if (description === undefined) throw new Error(`the jar has no ${message.title}`)
    expect(description.apiKey).toBe(message.key)
    expect(versionsOf(description.flexibleVersions).first).toBe(message.flexibleFrom)
    const versions = commonVersions(description, message)
    expect(versions.at(-1)).toBe(message.maxVersion)
    for (const version of versions) {
      expect(ownLines(message.type, version), `version ${version}`).toEqual(
        describedLines(description, version),
      )
    }
  })

  test('fields that are left out have the same values', () => {
    for (const { title, type } of messages) {
      const description = descriptions.get(title)
      const theirs = description === undefined ? new Map() : describedDefaults(description)
      for (const [field, value] of ownDefaults(type)) {
        const name = `${title} ${field}`
        // What Kafka has removed is described by the older jar.
        if (!(name in ownChoices) && theirs.has(field))
          expect(theirs.get(field), name).toEqual(value)
      }
    }
  })
})

test('every version of every message is compared with one jar or the other', () => {
  const jars = (['clients-3.9', 'kafka-4'] as const).map((name) => {
    const path = jarsOf(name).find((file) => /^kafka-clients-[\d.]+\.jar$/.test(basename(file)))
    return readDescriptions(readFileSync(path ?? ''))
  })
  for (const message of messages) {
    const compared = jars.flatMap((descriptions) => {
      const description = descriptions.get(message.title)
      return description === undefined ? [] : commonVersions(description, message)
    })
    const all = message.maxVersion - message.minVersion + 1
    expect(new Set(compared).size, message.title).toBe(all)
  }
})
