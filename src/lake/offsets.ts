/** How far a table has read its topic: the next offset of each partition, by topic id. The JSON form is `{topicId:{partition:"decimal string"}}`. */
export type TableOffsets = ReadonlyMap<string, ReadonlyMap<number, number>>
