/** Works on all items, `hands` at a time. The first failure is thrown; what has been begun by then goes on. */
export async function eachInParallel<T>(
  items: readonly T[],
  hands: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items.values();
  const workers = Array.from({ length: Math.min(hands, items.length) }, async () => {
    for (const item of queue) await work(item);
  });
  await Promise.all(workers);
}
