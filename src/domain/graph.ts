// The dependency graph: cycles in a list of edges and paths between two nodes, without recursion.

/** The shortest path along the edges, both ends included; undefined when there is none. */
export function pathBetween(
  from: string,
  to: string,
  next: (node: string) => readonly string[],
): string[] | undefined {
  const cameFrom = new Map<string, string | undefined>([[from, undefined]]);
  for (const node of cameFrom.keys()) {
    if (node === to) {
      const path: string[] = [];
      for (let at: string | undefined = to; at !== undefined; at = cameFrom.get(at)) path.unshift(at);
      return path;
    }
    for (const other of next(node)) if (!cameFrom.has(other)) cameFrom.set(other, node);
  }
  return undefined;
}

/** A cycle as a path that ends where it starts, such as [a, b, a]; undefined when there is none. */
export function findCycle(nodes: Iterable<readonly [string, readonly string[]]>): string[] | undefined {
  const edges = new Map(nodes);
  const done = new Set<string>();
  for (const start of edges.keys()) {
    if (done.has(start)) continue;
    const path: { node: string; next: number }[] = [{ node: start, next: 0 }];
    const onPath = new Set([start]);
    for (let top = path.at(-1); top; top = path.at(-1)) {
      const to = edges.get(top.node)?.[top.next++];
      if (to === undefined) {
        done.add(top.node);
        onPath.delete(top.node);
        path.pop();
      } else if (onPath.has(to)) {
        const from = path.findIndex((step) => step.node === to);
        return [...path.slice(from).map((step) => step.node), to];
      } else if (!done.has(to) && edges.has(to)) {
        path.push({ node: to, next: 0 });
        onPath.add(to);
      }
    }
  }
  return undefined;
}
