import { lifecycle } from '@postrider/schema'

/** The life of a delivery, from its only source. */
export function drawLifecycle(): string {
  const arrows = Object.entries(lifecycle).flatMap(([from, moves]) =>
    Object.entries(moves).map(([what, to]) => `  ${from} --> ${to === 'settled' ? '[*]' : to}: ${what}`),
  )
  return ['stateDiagram-v2', ...arrows, ''].join('\n')
}
