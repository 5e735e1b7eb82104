export { sinkContract, testEvent, type Behaviour, type Promised, type SinkHarness } from './contract.ts'
