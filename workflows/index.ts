// What a worker's workflow bundle holds.
export { agentTask } from './agent-task.js';
export { coordinator } from './coordinator.js';
export { handClaim } from './hand-claim.js';
export { logReader } from './log-reader.js';
export { writer } from './writer.js';
