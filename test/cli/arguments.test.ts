import { describe, expect, test } from 'vitest'
import { normalizeArguments, parseConfig, parsePort, parseWhole } from '../../src/cli/arguments.ts'
import { renderHelp } from '../../src/cli/help.ts'

const args = {
  topic: { type: 'positional', required: true, description: 'name of the topic' },
  offset: {
    type: 'string',
    alias: 'o',
    default: 'beginning',
    valueHint: 'N',
    description: 'start',
  },
  config: { type: 'string', alias: 'c', description: 'a config' },
  exit: { type: 'boolean', alias: 'e', description: 'stop at the end' },
} as const

describe('words after a command', () => {
  test('options are taken in every form, words wherever they stand', () => {
    const forms = [
      ['events', '-o', '-5', '-e'],
      ['-o-5', 'events', '--exit'],
      ['--offset=-5', '-e', 'events'],
      ['--offset', '-5', '-e', '--', 'events'],
      ['-eo', '-5', 'events'],
    ]
    for (const form of forms) {
      const { raw } = normalizeArguments(form, args)
      expect(raw.toSorted()).toEqual(['--', '--exit', '--offset=-5', 'events'])
    }
  })

  test('an option that is repeated keeps all its values', () => {
    const { values } = normalizeArguments(['-c', 'a=1', '--config=b=2', 't'], args)
    expect(values.get('config')).toEqual(['a=1', 'b=2'])
  })

  test('what the command does not know is refused, with the nearest that it does', () => {
    const refuse = (...words: string[]) => {
      try {
        normalizeArguments(words, args)
      } catch (error) {
        return error
      }
      return undefined
    }
    expect(refuse('--ofset=1')).toMatchObject({ code: 'USAGE', hint: 'did you mean --offset?' })
    expect(refuse('--conf')).toMatchObject({ hint: 'did you mean --config?' })
    expect(refuse('-x')).toMatchObject({ message: 'there is no option -x' })
    expect(refuse('t', '-o')).toMatchObject({ message: '-o needs a value' })
    expect(refuse('t', '--exit=1')).toMatchObject({ message: '--exit takes no value' })
    expect(refuse('t', 'u')).toMatchObject({ message: 'unexpected word "u"' })
  })
})

describe('values', () => {
  test('ports and numbers are whole and in range', () => {
    expect(parsePort('0', 'sql-port')).toBe(0)
    expect(() => parsePort('65536', 'sql-port')).toThrow('--sql-port is "65536"')
    expect(() => parsePort('1e3', 'sql-port')).toThrow('must be a port')
    expect(parseWhole('7', '-c', 1)).toBe(7)
    expect(() => parseWhole('0', '-c', 1)).toThrow('whole number from 1 on')
  })

  test('a size of a config becomes bytes, other values stay as they are', () => {
    expect(parseConfig('max.message.bytes=5242880')).toEqual(['max.message.bytes', '5242880'])
    expect(parseConfig('max.message.bytes=5MiB')).toEqual(['max.message.bytes', '5242880'])
    expect(parseConfig('max.message.bytes=5MB')).toEqual(['max.message.bytes', '5000000'])
    expect(parseConfig('x = 1.5k')).toEqual(['x', '1500'])
    expect(parseConfig('cleanup.policy=delete')).toEqual(['cleanup.policy', 'delete'])
    expect(parseConfig('x=')).toEqual(['x', ''])
    expect(() => parseConfig('5MiB')).toThrow('NAME=VALUE')
  })
})

test('help shows words and options with what holds without them', () => {
  expect(renderHelp('tail', 'print events', args)).toBe(`questlog tail TOPIC [OPTIONS]
  print events

  TOPIC               name of the topic
  -o, --offset N      start (beginning)
  -c, --config VALUE  a config
  -e, --exit          stop at the end`)
})
