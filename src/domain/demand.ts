// How much work wants the same path: a trie over path components that counts the claims of all live tasks, whether they
// hold them or wait. Claims on the way from the root to one path exclude each other, so their number is how many tasks
// have to write there one after the other. A glob counts as the directory before its first component with a wildcard.

import { keysOf, type Pattern } from './paths.js';

class Node {
  /** Made when first needed: most claims are files. */
  private children: Map<string, Node> | undefined;
  /** Claims that end here. */
  here = 0;
  /** The most claims on one way from a child of this node downwards. */
  below = 0;
  /** How many children have so many claims on their way downwards; their numbers move by one, so it has no holes. */
  private tally: number[] | undefined;

  constructor(
    readonly parent: Node | undefined,
    private readonly name: string,
  ) {}

  child(name: string): Node {
    this.children ??= new Map();
    let child = this.children.get(name);
    if (!child) {
      child = new Node(this, name);
      this.children.set(name, child);
    }
    return child;
  }

  /** The most claims on one way from here downwards. */
  private get down(): number {
    return this.here + this.below;
  }

  private get empty(): boolean {
    return this.here === 0 && !this.children?.size;
  }

  /** One claim more or less ends here. Every number on the way up moves by one or not at all; empty nodes go. */
  count(by: 1 | -1): void {
    let before = this.down;
    this.here += by;
    let node: Node = this;
    while (node.parent && (node.down !== before || node.empty)) {
      const { parent } = node;
      const parentBefore = parent.down;
      parent.retally(before, node.down);
      if (node.empty) parent.children?.delete(node.name);
      before = parentBefore;
      node = parent;
    }
  }

  /** The number of a child has moved by one at most. */
  private retally(before: number, after: number): void {
    if (before === after) return;
    this.tally ??= [0, 0];
    const { tally } = this;
    const left = before > 0 ? (tally[before] ?? 0) - 1 : 0;
    tally[before] = left;
    if (after > 0) tally[after] = (tally[after] ?? 0) + 1;
    if (after > this.below || (before === this.below && left === 0)) this.below = after;
  }
}

export class Demand {
  private readonly roots = new Map<string, Node>();
  private readonly claims = new Map<string, Node[]>();

  /** As of a ClaimIndex: whether a repository takes `A` for `a`. */
  constructor(private readonly caseInsensitive: (repository: string) => boolean = () => false) {}

  /** Counts what a task claims, instead of what it claimed before. */
  set(task: string, repository: string, patterns: readonly Pattern[]): void {
    this.delete(task);
    if (patterns.length === 0) return;
    const nodes = patterns.map((pattern) => this.nodeOf(pattern.repository ?? repository, pattern));
    this.claims.set(task, nodes);
  }

  delete(task: string): void {
    const nodes = this.claims.get(task);
    if (!nodes) return;
    this.claims.delete(task);
    for (const node of nodes) node.count(-1);
  }

  /** How many live tasks, itself included, want the most contended of the task's paths. */
  heat(task: string): number {
    let hottest = 0;
    for (const claimed of this.claims.get(task) ?? []) {
      let heat = claimed.below;
      for (let node: Node | undefined = claimed; node; node = node.parent) heat += node.here;
      if (heat > hottest) hottest = heat;
    }
    return hottest;
  }

  private nodeOf(repository: string, pattern: Pattern): Node {
    let node = this.roots.get(repository);
    if (!node) {
      node = new Node(undefined, '');
      this.roots.set(repository, node);
    }
    for (const key of keysOf(pattern, this.caseInsensitive(repository))) {
      if (typeof key !== 'string') break;
      node = node.child(key);
    }
    node.count(1);
    return node;
  }
}
