// An index of held claims: a trie over path components per repository. A request walks its own path and what lies
// below it, so its cost follows the length of its paths and the overlaps found, not the number of claims held.

import { literalPrefix, overlaps, type Pattern } from './paths.js';

interface Node {
  readonly children: Map<string, Node>;
  /** Patterns kept at this node (their literal prefix ends here), by holder. */
  readonly here: Map<string, Pattern[]>;
}

export interface Overlap {
  holder: string;
  /** The holder's pattern. */
  theirs: string;
  /** The requested pattern. */
  ours: string;
}

export class ClaimIndex {
  private readonly roots = new Map<string, Node>();

  add(holder: string, repository: string, patterns: readonly Pattern[]): void {
    for (const pattern of patterns) {
      let node = this.root(repository);
      for (const part of literalPrefix(pattern)) node = child(node, part);
      const kept = node.here.get(holder);
      if (kept) kept.push(pattern);
      else node.here.set(holder, [pattern]);
    }
  }

  remove(holder: string, repository: string, patterns: readonly Pattern[]): void {
    const root = this.roots.get(repository);
    if (root) for (const pattern of patterns) prune(root, literalPrefix(pattern), 0, holder);
  }

  /** The first claim of another holder that overlaps one of the patterns, in the patterns' order. */
  firstOverlap(holder: string, repository: string, patterns: readonly Pattern[]): Overlap | undefined {
    const root = this.roots.get(repository);
    if (!root) return undefined;
    for (const pattern of patterns) {
      const found = search(root, pattern, holder);
      if (found) return { ...found, ours: pattern.text };
    }
    return undefined;
  }

  private root(repository: string): Node {
    let root = this.roots.get(repository);
    if (!root) {
      root = { children: new Map(), here: new Map() };
      this.roots.set(repository, root);
    }
    return root;
  }
}

function child(node: Node, part: string): Node {
  let next = node.children.get(part);
  if (!next) {
    next = { children: new Map(), here: new Map() };
    node.children.set(part, next);
  }
  return next;
}

/** Removes the holder's patterns at the path and drops nodes that became empty; true when `node` is empty now. */
function prune(node: Node, path: readonly string[], depth: number, holder: string): boolean {
  const part = path[depth];
  if (part === undefined) {
    node.here.delete(holder);
  } else {
    const next = node.children.get(part);
    if (next && prune(next, path, depth + 1, holder)) node.children.delete(part);
  }
  return node.here.size === 0 && node.children.size === 0;
}

function search(root: Node, wanted: Pattern, self: string): { holder: string; theirs: string } | undefined {
  let node: Node | undefined = root;
  for (const part of literalPrefix(wanted)) {
    const found = inNode(node, wanted, self);
    if (found) return found;
    node = node.children.get(part);
    if (!node) return undefined;
  }
  return below(node, wanted, self);
}

function inNode(node: Node, wanted: Pattern, self: string): { holder: string; theirs: string } | undefined {
  for (const [holder, patterns] of node.here) {
    if (holder === self) continue;
    const hit = patterns.find((pattern) => overlaps(pattern, wanted));
    if (hit) return { holder, theirs: hit.text };
  }
  return undefined;
}

function below(node: Node, wanted: Pattern, self: string): { holder: string; theirs: string } | undefined {
  const found = inNode(node, wanted, self);
  if (found) return found;
  for (const next of node.children.values()) {
    const deeper = below(next, wanted, self);
    if (deeper) return deeper;
  }
  return undefined;
}
