import type { ChildProcess } from 'node:child_process'
import { EventEmitter } from 'node:events'
import { expect, test } from 'vitest'
import { Component } from '../../src/app/component.ts'
import type { RoleArguments } from '../../src/app/roles.ts'
import { realClock } from '../../src/core/clock.ts'

/** A process that does what the test says. */
class FakeChild extends EventEmitter {
  connected = true
  exitCode = null
  signalCode = null
  readonly pid = 1
  wasReady = false

  send(): boolean {
    return true
  }

  kill(): boolean {
    this.end()
    return true
  }

  becomeReady(): void {
    this.wasReady = true
    this.emit('message', { notice: 'ready', port: 5000, brokerPort: null })
  }

  end(): void {
    this.connected = false
    this.emit('exit', null, 'SIGKILL')
  }
}

test('a process that has ended is not ready before it is back, also for who learns of its end first', async () => {
  const children: FakeChild[] = []
  const component = new Component({
    arguments: { role: 'lake' } as RoleArguments,
    spawn: () => {
      const child = new FakeChild()
      children.push(child)
      return child as unknown as ChildProcess
    },
    clock: realClock,
    restartDelayMs: 0,
    event: () => {},
  })
  component.start()
  const [first] = children
  first?.becomeReady()
  await component.ready()

  const asked = component.request('activate', { version: 2 }, 60_000)
  const livesWhenReady = asked
    .catch(() => component.ready())
    .then(() => children.filter(({ wasReady }) => wasReady).length)
  first?.end()
  await expect(asked).rejects.toMatchObject({ code: 'NOT_RUNNING' })
  await expect.poll(() => children.length).toBe(2)
  children[1]?.becomeReady()
  expect(await livesWhenReady).toBe(2)
  component.kill()
})
