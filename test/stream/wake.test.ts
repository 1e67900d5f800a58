import { expect, test } from 'vitest'
import { Wake } from '../../src/stream/wake.ts'
import { SimulatedClock } from '../support/simulated-clock.ts'

test('a rest ends after its time, or by a call; one that comes while nothing rests ends the next', async () => {
  const clock = new SimulatedClock()
  const wake = new Wake(clock)
  const ended: string[] = []
  const rest = (name: string) => wake.rest(100).then(() => ended.push(name))

  const timely = rest('by its time')
  clock.advance(99)
  await Promise.resolve()
  expect(ended).toEqual([])
  clock.advance(1)
  await timely

  const called = rest('by a call')
  wake.call()
  await called
  wake.begin()
  wake.call()
  await rest('by a call before')

  wake.begin()
  const last = rest('by its time again')
  await Promise.resolve()
  expect(ended).toEqual(['by its time', 'by a call', 'by a call before'])
  clock.advance(100)
  await last
})
