import { describe, expect, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import {
  environmentName,
  resolveSettings,
  settingNames,
  settingRows,
} from '../../src/core/settings.ts'

function refusal(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    if (error instanceof QuestlogError && error.code === 'SETTING_INVALID') return error.message
    throw error
  }
  throw new Error('nothing was refused')
}

describe('settings', () => {
  test('every default is a value that the setting itself accepts', () => {
    for (const name of settingNames()) {
      const { default: standard, parse } = settingRows[name]
      const text = Array.isArray(standard) ? standard.join(',') : String(standard)
      expect(parse(text), name).toEqual(standard)
    }
  })

  test('the environment wins over the file, and the file over the default', () => {
    expect(resolveSettings().jsonDepthMax).toBe(64)
    expect(resolveSettings({ jsonDepthMax: 10 }).jsonDepthMax).toBe(10)
    const environment = { [environmentName('jsonDepthMax')]: '20' }
    expect(resolveSettings({ jsonDepthMax: 10 }, environment).jsonDepthMax).toBe(20)
  })

  test('names of the environment are the keys in capitals', () => {
    expect(environmentName('bodyBytesMax')).toBe('QUESTLOG_BODY_BYTES_MAX')
    expect(environmentName('duckdbMemoryMiB')).toMatch(/^QUESTLOG_DUCKDB_MEMORY_/)
    expect(new Set(settingNames().map(environmentName)).size).toBe(settingNames().length)
  })

  test('lists are comma-separated, without empty items', () => {
    expect(
      resolveSettings({ corsOrigins: ['https://a.org', 'https://b.org'] }).corsOrigins,
    ).toEqual(['https://a.org', 'https://b.org'])
    expect(resolveSettings({}, { QUESTLOG_WRITE_KEYS: ' a, ,b,' }).writeKeys).toEqual(['a', 'b'])
  })

  test('a wrong value names the setting, the text and the rule', () => {
    expect(refusal(() => resolveSettings({ durability: 'maybe' }))).toBe(
      'setting durability is "maybe", but must be one of fsync, os',
    )
    for (const text of ['1', '1001', '-5', '6.5', '8e1', '', 'x'])
      expect(refusal(() => resolveSettings({}, { QUESTLOG_JSON_DEPTH_MAX: text }))).toContain(
        `setting jsonDepthMax is "${text}", but must be a whole number from 2 to 1000`,
      )
  })

  test('a setting that does not exist is refused', () => {
    expect(refusal(() => resolveSettings({ bodyByteMax: 1 }))).toContain(
      'there is no setting bodyByteMax',
    )
  })
})
