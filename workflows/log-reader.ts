// What a host is asked for its logs by: a workflow that is over at once. Queries of it, which no history keeps, are
// answered by worker/log-desk.ts, which alone sees the host's files; here is what a replay goes by.

export async function logReader(): Promise<void> {}
