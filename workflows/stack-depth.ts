// For each promise that a workflow makes the SDK notes down the stack, each frame looked up in the source map: a third of
// what a workflow costs its worker. Two frames, the hook's own, cost nothing: a failure shows the two innermost calls
// then, and the Web UI's call stack is empty. What a workflow waits for stands in its current details.
// Evaluated before the SDK freezes the globals that all workflows of a worker share.

Error.stackTraceLimit = 2;
