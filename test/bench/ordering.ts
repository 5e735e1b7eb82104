export { bench } from './peers/ordering.ts'
