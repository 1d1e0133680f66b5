// Components by their characters: all of them that can match the same name as a given one are found by walking what the
// two have in common, not by comparing with each. A star takes in all that is there, so what can be told apart has to
// come before it.

import { charsMeet, onlyChar, type Token } from './component.js';

interface Node<T> {
  readonly id: number;
  /** Reached by a star: it may take any further character and stay. */
  readonly star: boolean;
  readonly parent: Node<T> | undefined;
  readonly token: Token | undefined;
  /** By the one character that leads there. */
  readonly single: Map<number, Node<T>>;
  /** By the text of the set that leads there. */
  readonly sets: Map<string, Node<T>>;
  any: Node<T> | undefined;
  value: T | undefined;
}

export class ComponentTrie<T> {
  private count = 0;
  private readonly root = this.node(undefined, undefined);

  set(tokens: readonly Token[], value: T): void {
    let node = this.root;
    for (const token of tokens) node = next(node, token) ?? this.grow(node, token);
    node.value = value;
  }

  delete(tokens: readonly Token[]): void {
    let node: Node<T> | undefined = this.root;
    for (const token of tokens) node = node && next(node, token);
    if (!node) return;
    node.value = undefined;
    for (let at = node; at.parent && isEmpty(at); at = at.parent) cut(at.parent, at.token as Token);
  }

  /**
   * Everything kept whose component can match the same name: the product of the trie and the component as automata.
   * Step by step; a step that finds nothing gives undefined.
   */
  *meeting(tokens: readonly Token[]): Generator<T | undefined, void> {
    const width = tokens.length + 1;
    const seen = new Set<number>();
    const stack: [Node<T>, number][] = [];
    const go = (node: Node<T> | undefined, at: number): void => {
      if (!node || seen.has(node.id * width + at)) return;
      seen.add(node.id * width + at);
      stack.push([node, at]);
    };
    go(this.root, 0);
    for (let pair = stack.pop(); pair; pair = stack.pop()) {
      yield undefined;
      const [node, at] = pair;
      const token = tokens[at];
      go(node.any, at);
      if (token === undefined) {
        yield node.value;
        continue;
      }
      if (token === 'star') {
        go(node, at + 1);
        for (const child of node.single.values()) go(child, at);
        for (const child of node.sets.values()) go(child, at);
        continue;
      }
      if (node.star) go(node, at + 1);
      const only = onlyChar(token.chars);
      if (only !== undefined) go(node.single.get(only), at + 1);
      else for (const child of node.single.values()) if (fits(child, token)) go(child, at + 1);
      for (const child of node.sets.values()) if (fits(child, token)) go(child, at + 1);
    }
  }

  private node(parent: Node<T> | undefined, token: Token | undefined): Node<T> {
    return {
      id: this.count++,
      star: token === 'star',
      parent,
      token,
      single: new Map(),
      sets: new Map(),
      any: undefined,
      value: undefined,
    };
  }

  private grow(parent: Node<T>, token: Token): Node<T> {
    const node = this.node(parent, token);
    if (token === 'star') parent.any = node;
    else {
      const only = onlyChar(token.chars);
      if (only === undefined) parent.sets.set(String(token.chars), node);
      else parent.single.set(only, node);
    }
    return node;
  }
}

function next<T>(node: Node<T>, token: Token): Node<T> | undefined {
  if (token === 'star') return node.any;
  const only = onlyChar(token.chars);
  return only === undefined ? node.sets.get(String(token.chars)) : node.single.get(only);
}

function cut<T>(parent: Node<T>, token: Token): void {
  if (token === 'star') parent.any = undefined;
  else {
    const only = onlyChar(token.chars);
    if (only === undefined) parent.sets.delete(String(token.chars));
    else parent.single.delete(only);
  }
}

const isEmpty = <T>(node: Node<T>): boolean =>
  node.value === undefined && node.any === undefined && node.single.size === 0 && node.sets.size === 0;

const fits = <T>(node: Node<T>, token: Exclude<Token, 'star'>): boolean =>
  typeof node.token === 'object' && charsMeet(node.token.chars, token.chars);
