import { afterEach, expect, test } from 'vitest'
import { apiNameOf, apiNames, apis } from '../../src/kafka/apis.ts'
import { start, stopAll } from './harness.ts'

afterEach(stopAll)

test('what ApiVersions says is what the table and its page say', async () => {
  const { client } = await start()
  const { apiKeys } = await (await client()).request('apiVersions', 0, {})
  const said = apiKeys.map(({ apiKey, minVersion, maxVersion }) => [
    apiNameOf(apiKey),
    minVersion,
    maxVersion,
  ])
  const table = apiNames
    .toSorted((one, other) => apis[one].key - apis[other].key)
    .map((name) => {
      const { minVersion, maxVersion } = apis[name]
      // Announced, so that librdkafka takes the broker for one that compresses; not served.
      return [name, name === 'fetch' ? 0 : minVersion, maxVersion]
    })
  expect(said).toEqual(table)
})
