// What a history holds, read as the default converter wrote it.

/** Undefined when there is nothing. */
export const decoded = <T>(payload: { data?: Uint8Array | null } | null | undefined): T | undefined =>
  payload?.data ? (JSON.parse(Buffer.from(payload.data).toString('utf8')) as T) : undefined;
