/** Milliseconds by a clock that all processes of a machine share and nobody can set; its zero means nothing. */
export function clockMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
