/** The part of fs-native-extensions that is used: it ships no types. */
declare module 'fs-native-extensions' {
  /** Takes an exclusive lock on the open file without waiting; false when another process holds it. */
  export function tryLock(fd: number): boolean
}
