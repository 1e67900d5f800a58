import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { assignRanges } from '../../src/cli/group-membership.ts'

test('every partition is assigned to one member, in shares that differ by one at most', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.string({ minLength: 1 }), { minLength: 1, maxLength: 8 }),
      fc.nat(20),
      (members, count) => {
        const partitions = Array.from({ length: count }, (_, partition) => partition)
        const assigned = assignRanges(members, partitions)
        expect(assigned.flatMap((each) => each.partitions)).toEqual(partitions)
        expect(assigned.map((each) => each.memberId).toSorted()).toEqual(members.toSorted())
        const sizes = assigned.map((each) => each.partitions.length)
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1)
      },
    ),
  )
})
