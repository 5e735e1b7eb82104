/** Milliseconds by the monotonic clock of the machine, which all its processes share: no wall clock that is being corrected. */
export function clockMs(): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1_000 + nanoseconds / 1e6
}
