// An index of held claims: for each repository a trie over path components, up to the first `**` of a claim, which is
// what decides an overlap. A request walks its own components, and at each level only what can match the same name: a
// name is looked up; components with wildcards are found by the characters before their first star or after their last.
// So the cost of a request follows its own length and what its wildcards take in, not the number of claims held.

import { nameTokens, type Token } from './component.js';
import { ComponentTrie } from './component-trie.js';
import { type Key, keysOf, type Pattern } from './paths.js';

interface Held {
  holder: string;
  pattern: Pattern;
}

class Node {
  /** Made when first needed: most claims are files, and few have wildcards. */
  names: Children | undefined;
  wild: Children | undefined;
  /** Claims that end here, seldom more than one. */
  here: Held[] = [];

  constructor(readonly key: Key) {}

  get empty(): boolean {
    return this.here.length === 0 && !this.names?.size && !this.wild?.size;
  }

  child(key: Key): Node | undefined {
    return (typeof key === 'string' ? this.names : this.wild)?.get(key);
  }

  obtain(key: Key): Node {
    if (typeof key !== 'string') {
      this.wild ??= new Children();
      return this.wild.obtain(key);
    }
    this.names ??= new Children();
    return this.names.obtain(key);
  }

  delete(key: Key): void {
    (typeof key === 'string' ? this.names : this.wild)?.delete(key);
  }
}

const tokensOf = (key: Key): readonly Token[] => (typeof key === 'string' ? nameTokens(key) : key);
const textOf = (key: Key): string =>
  typeof key === 'string' ? key : key.map((token) => (token === 'star' ? '*' : token.chars)).join('|');

/** Nodes by their components; by characters too, once somebody asks for them so. */
class Children {
  private readonly nodes = new Map<string, Node>();
  private forward: ComponentTrie<Node> | undefined;
  private backward: ComponentTrie<Node> | undefined;

  get size(): number {
    return this.nodes.size;
  }

  all(): Iterable<Node> {
    return this.nodes.values();
  }

  get(key: Key): Node | undefined {
    return this.nodes.get(textOf(key));
  }

  obtain(key: Key): Node {
    const text = textOf(key);
    let node = this.nodes.get(text);
    if (!node) {
      node = new Node(key);
      this.nodes.set(text, node);
      this.forward?.set(tokensOf(key), node);
      this.backward?.set(tokensOf(key).toReversed(), node);
    }
    return node;
  }

  delete(key: Key): void {
    this.nodes.delete(textOf(key));
    this.forward?.delete(tokensOf(key));
    this.backward?.delete(tokensOf(key).toReversed());
  }

  /**
   * All that can match the same name. Looked for from the front and from the back in turns: whichever side tells them
   * apart is through soon, and then nothing is left to find.
   */
  *meeting(tokens: readonly Token[]): Iterable<Node> {
    if (this.nodes.size === 0) return;
    this.forward ??= this.trie((key) => tokensOf(key));
    this.backward ??= this.trie((key) => tokensOf(key).toReversed());
    const sides = [this.forward.meeting(tokens), this.backward.meeting(tokens.toReversed())];
    const found = new Set<Node>();
    for (;;)
      for (const side of sides) {
        const { done, value } = side.next();
        if (done) return;
        if (!value || found.has(value)) continue;
        found.add(value);
        yield value;
      }
  }

  private trie(tokens: (key: Key) => readonly Token[]): ComponentTrie<Node> {
    const trie = new ComponentTrie<Node>();
    for (const node of this.nodes.values()) trie.set(tokens(node.key), node);
    return trie;
  }
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

  /** `caseInsensitive` says of a repository whether it takes `A` for `a`; its answer must not change. */
  constructor(private readonly caseInsensitive: (repository: string) => boolean = () => false) {}

  /** `repository` is the one of claims that name none. */
  add(holder: string, repository: string, patterns: readonly Pattern[]): void {
    for (const pattern of patterns) {
      const place = pattern.repository ?? repository;
      let node = this.roots.get(place);
      if (!node) {
        node = new Node('');
        this.roots.set(place, node);
      }
      for (const key of this.keys(place, pattern)) node = node.obtain(key);
      node.here = [...node.here, { holder, pattern }];
    }
  }

  remove(holder: string, repository: string, patterns: readonly Pattern[]): void {
    for (const pattern of patterns) {
      const place = pattern.repository ?? repository;
      const root = this.roots.get(place);
      if (root) prune(root, this.keys(place, pattern), 0, holder);
    }
  }

  /** The first claim of another holder that overlaps one of the patterns, in the patterns' order. */
  firstOverlap(holder: string, repository: string, patterns: readonly Pattern[]): Overlap | undefined {
    return this.overlapBeside(new Set([holder]), repository, patterns);
  }

  /** An overlap with each other holder; in no order. */
  allOverlaps(holder: string, repository: string, patterns: readonly Pattern[]): Overlap[] {
    const found: Overlap[] = [];
    const known = new Set([holder]);
    for (;;) {
      const next = this.overlapBeside(known, repository, patterns);
      if (!next) return found;
      found.push(next);
      known.add(next.holder);
    }
  }

  private overlapBeside(
    known: ReadonlySet<string>,
    repository: string,
    patterns: readonly Pattern[],
  ): Overlap | undefined {
    for (const ours of patterns) {
      const place = ours.repository ?? repository;
      const root = this.roots.get(place);
      const found = root && search(root, this.keys(place, ours), 0, known);
      if (!found) continue;
      // Named by both or by none, or two claims of one repository would look as if they lay in two.
      const theirs = found.pattern;
      const named = ours.repository !== undefined || theirs.repository !== undefined;
      const text = (pattern: Pattern) =>
        named && pattern.repository === undefined ? `${place}:${pattern.text}` : pattern.text;
      return { holder: found.holder, theirs: text(theirs), ours: text(ours) };
    }
    return undefined;
  }

  private keys(repository: string, pattern: Pattern): readonly Key[] {
    return keysOf(pattern, this.caseInsensitive(repository));
  }
}

/** Removes the holder's claims at the path and drops nodes that became empty. */
function prune(node: Node, keys: readonly Key[], depth: number, holder: string): void {
  const key = keys[depth];
  if (key === undefined) {
    node.here = node.here.filter((held) => held.holder !== holder);
    return;
  }
  const child = node.child(key);
  if (!child) return;
  prune(child, keys, depth + 1, holder);
  if (child.empty) node.delete(key);
}

function search(
  node: Node,
  keys: readonly Key[],
  depth: number,
  known: ReadonlySet<string>,
): Held | undefined {
  for (const held of node.here) if (!known.has(held.holder)) return held;
  const key = keys[depth];
  const { names, wild } = node;
  // At the request's end everything below overlaps it.
  if (key === undefined)
    return (
      (names && searchAll(names.all(), keys, depth, known)) ??
      (wild && searchAll(wild.all(), keys, depth, known))
    );
  const named = typeof key === 'string' ? names?.get(key) : undefined;
  return (
    (named && search(named, keys, depth + 1, known)) ??
    (names && typeof key !== 'string' ? searchAll(names.meeting(key), keys, depth, known) : undefined) ??
    (wild && searchAll(wild.meeting(tokensOf(key)), keys, depth, known))
  );
}

function searchAll(
  children: Iterable<Node>,
  keys: readonly Key[],
  depth: number,
  known: ReadonlySet<string>,
): Held | undefined {
  for (const child of children) {
    const found = search(child, keys, depth + 1, known);
    if (found) return found;
  }
  return undefined;
}
