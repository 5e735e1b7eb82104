export type * from './driver.ts'
export type * from './records.ts'
