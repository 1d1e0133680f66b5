// What a worker's workflow bundle holds.
export { agentTask } from './agent-task.js';
export { coordinator } from './coordinator.js';
export { writer } from './writer.js';
