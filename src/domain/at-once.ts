// How many tasks could run at the same moment: the largest set of them in which nobody waits for another, no claims
// overlap, and every limit is kept. That is maximum independent set (NP-hard): branch and bound, with a cover by cliques
// as the bound, which is exact for plans as people write them and gives up in time for others.

import type { Rules } from './config.js';
import { repositoryOf } from './decide/rules.js';
import type { TaskFacts } from './messages.js';
import { overlaps, type Pattern, parsePattern } from './paths.js';
import { useRefused } from './resources.js';

export interface Candidate {
  id: string;
  facts: TaskFacts;
}

/** Pairs compared before the search is given up. */
const MOST_LOOKS = 20_000_000;
/** With more tasks than this only the limits are told. */
const MOST_TASKS = 1_000;

export function mostAtOnce(tasks: readonly Candidate[], rules: Rules): { atMost: number; exact: boolean } {
  const limits = new Limits(rules);
  const able = tasks.filter(({ facts }) => limits.able(facts));
  const most = limits.atMost(able);
  if (able.length > MOST_TASKS) return { atMost: most, exact: false };
  return new Search(able, rules, limits, most).result();
}

/** What a task takes a place of: all agents, its role's, its kind's, a resource's. */
class Limits {
  private readonly most = new Map<string, number>();

  constructor(private readonly rules: Rules) {
    this.most.set('', rules.ceiling);
    for (const [role, { maxRunning }] of Object.entries(rules.roles))
      this.most.set(`role ${role}`, maxRunning);
    for (const [kind, { maxRunning }] of Object.entries(rules.agents))
      if (maxRunning !== undefined) this.most.set(`agent ${kind}`, maxRunning);
    for (const [resource, { capacity }] of Object.entries(rules.resources))
      this.most.set(`resource ${resource}`, capacity);
  }

  /** Whether it could ever run under these rules. */
  able = ({ role, uses = [], writes }: TaskFacts): boolean =>
    (role === undefined || Object.hasOwn(this.rules.roles, role)) &&
    uses.every((use) => {
      const rule = Object.hasOwn(this.rules.resources, use.resource) && this.rules.resources[use.resource];
      return rule && useRefused(rule, use, role) === undefined;
    }) &&
    writes.every((claim) => {
      const { repository } = parsePattern(claim);
      return repository === undefined || Object.hasOwn(this.rules.repositories, repository);
    });

  of({ role, agent = this.rules.defaultAgent, uses = [] }: TaskFacts): string[] {
    const alone = uses.filter(({ mode }) => mode === 'exclusive');
    const keys = [
      '',
      `role ${role}`,
      `agent ${agent}`,
      ...alone.map(({ resource }) => `resource ${resource}`),
    ];
    return keys.filter((key) => this.most.has(key));
  }

  room = (key: string, taken: ReadonlyMap<string, number>): boolean =>
    (taken.get(key) ?? 0) < (this.most.get(key) ?? 0);

  /** By the ceiling, and by each role's own limit. */
  atMost(tasks: readonly Candidate[]): number {
    const byRole = new Map<string, number>();
    for (const { facts } of tasks) byRole.set(facts.role ?? '', (byRole.get(facts.role ?? '') ?? 0) + 1);
    const sum = [...byRole].reduce(
      (all, [role, count]) => all + Math.min(count, this.most.get(`role ${role}`) ?? count),
      0,
    );
    return Math.min(this.rules.ceiling, sum);
  }
}

class Search {
  private best = 0;
  private looks = 0;
  private readonly taken = new Map<string, number>();
  private readonly exclude: Uint8Array[];
  private readonly limitsOf: string[][];

  constructor(
    private readonly tasks: readonly Candidate[],
    rules: Rules,
    private readonly limits: Limits,
    private readonly most: number,
  ) {
    this.exclude = exclusions(tasks, rules);
    this.limitsOf = tasks.map(({ facts }) => limits.of(facts));
  }

  result(): { atMost: number; exact: boolean } {
    const all = this.tasks.map((_, i) => i);
    const bound = Math.min(this.most, this.cover(all).length);
    this.grow(0, all, bound);
    const exact = this.best === bound || this.looks < MOST_LOOKS;
    return { atMost: exact ? this.best : bound, exact };
  }

  private grow(size: number, among: number[], bound: number): void {
    this.best = Math.max(this.best, size);
    const cliques = this.cover(among);
    const order = cliques.flatMap((clique, rank) => clique.map((task) => ({ task, rank })));
    // The last first: of those up to one of rank r no more than r + 1 can run at once.
    for (let at = order.at(-1); at; at = order.at(-1)) {
      if (this.best >= bound || size + at.rank + 1 <= this.best || this.looks >= MOST_LOOKS) return;
      order.pop();
      const { task } = at;
      const limits = this.limitsOf[task] ?? [];
      if (!limits.every((key) => this.limits.room(key, this.taken))) continue;
      for (const key of limits) this.taken.set(key, (this.taken.get(key) ?? 0) + 1);
      this.grow(
        size + 1,
        order.map((one) => one.task).filter((other) => !this.clash(task, other)),
        bound,
      );
      for (const key of limits) this.taken.set(key, (this.taken.get(key) ?? 0) - 1);
    }
  }

  /** Cliques of tasks that all exclude each other: at most one of each can run. */
  private cover(among: readonly number[]): number[][] {
    const cliques: number[][] = [];
    for (const task of among) {
      const clique = cliques.find((members) => members.every((other) => this.clash(task, other)));
      if (clique) clique.push(task);
      else cliques.push([task]);
    }
    return cliques;
  }

  private clash(a: number, b: number): boolean {
    this.looks += 1;
    return this.exclude[a]?.[b] === 1;
  }
}

/** For each task, which others cannot run while it does. */
function exclusions(tasks: readonly Candidate[], rules: Rules): Uint8Array[] {
  const claims = tasks.map(({ facts }) => placed(facts, rules));
  const before = upstreams(tasks);
  const table = tasks.map(() => new Uint8Array(tasks.length));
  tasks.forEach((a, i) => {
    for (let j = 0; j < i; j++) {
      const b = tasks[j] as Candidate;
      const ordered = before.get(a.id)?.has(b.id) || before.get(b.id)?.has(a.id);
      if (!ordered && !meet(claims[i] ?? [], claims[j] ?? [], rules) && !alone(a.facts, b.facts)) continue;
      (table[i] as Uint8Array)[j] = 1;
      (table[j] as Uint8Array)[i] = 1;
    }
  });
  return table;
}

/** All that each task waits for, through whomever. */
function upstreams(tasks: readonly Candidate[]): Map<string, Set<string>> {
  const next = new Map(tasks.map(({ id, facts }) => [id, facts.after.map((edge) => edge.task)]));
  return new Map(
    tasks.map(({ id }) => {
      const reached = new Set(next.get(id));
      for (const name of reached) for (const further of next.get(name) ?? []) reached.add(further);
      return [id, reached];
    }),
  );
}

interface Placed {
  repository: string;
  pattern: Pattern;
}

const placed = (facts: TaskFacts, rules: Rules): Placed[] =>
  facts.writes.map(parsePattern).map((pattern) => ({
    repository: pattern.repository ?? repositoryOf(rules, facts),
    pattern,
  }));

const meet = (a: readonly Placed[], b: readonly Placed[], { repositories }: Rules): boolean =>
  a.some((x) =>
    b.some(
      (y) =>
        x.repository === y.repository &&
        overlaps(x.pattern, y.pattern, repositories[x.repository]?.caseInsensitive),
    ),
  );

/** One shares a resource that the other uses alone. */
const alone = (a: TaskFacts, b: TaskFacts): boolean =>
  (a.uses ?? []).some((use) =>
    (b.uses ?? []).some(({ resource, mode }) => resource === use.resource && mode !== use.mode),
  );
