// What a task's workflow knows of its own claims, and what it asks for: the truth that the coordinator's record follows.
// One asking at a time travels in the task's reports until it is answered; others wait their turn.

import type { Extend, Standing } from './messages.js';
import { BadPattern, parsePattern } from './paths.js';
import { explain } from './reasons.js';

/** From the task's agent, or from a person: more paths, or some that are not needed any more. */
export interface ClaimRequest {
  /** Chosen by whoever asks; the answer is found under it. */
  id: string;
  paths: string[];
  /** More paths: wait for them rather than be refused. */
  wait?: boolean;
  /** The grant of the attempt whose agent asks. */
  fence?: string;
}

export interface ClaimAnswer {
  answer: 'asked' | 'waiting' | 'granted' | 'refused' | 'retry' | 'released' | 'refreshed';
  text: string;
  holder?: string;
  /** All that the task claims now. */
  writes: string[];
}

export interface CarriedClaims {
  writes: string[];
  asked: number;
  answers: [string, ClaimAnswer][];
}

const KEPT_ANSWERS = 50;
const MOST_PATHS = 1_000;

export class OwnClaims {
  writes: string[];
  private asked: number;
  private asks: ClaimRequest[] = [];
  private current: Extend | undefined;
  /** It was told to start again with these. */
  private more: string[] | undefined;
  private readonly answers: Map<string, ClaimAnswer>;

  constructor(writes: string[], carried: CarriedClaims | undefined) {
    this.writes = carried?.writes ?? writes;
    this.asked = carried?.asked ?? 0;
    this.answers = new Map(carried?.answers);
  }

  carry(): CarriedClaims {
    const { writes, asked, answers } = this;
    return { writes, asked, answers: [...answers] };
  }

  get changed(): boolean {
    return this.answers.size > 0;
  }

  /** What the task asks for at this moment. */
  get extend(): Extend | undefined {
    return this.current;
  }

  answerTo = (id: string): ClaimAnswer | undefined => this.answers.get(id);

  /** True when there is something new to tell. `refusal`: why nothing can be asked for now. */
  ask(request: unknown, refusal: (fence: string | undefined) => string | undefined): boolean {
    const parsed = this.parse(request, refusal);
    if (!parsed) return false;
    this.settle(parsed.id, { answer: 'asked', text: 'the coordinator is asked' });
    this.asks.push(parsed);
    return this.next();
  }

  /** Whoever asked goes without. True when there is something new to tell. */
  goWithout(id: unknown): boolean {
    const index = this.asks.findIndex((ask) => ask.id === id);
    if (index < 0) return false;
    this.settle(String(id), { answer: 'refused', text: 'it goes without' });
    this.asks.splice(index, 1);
    if (index > 0) return false;
    this.current = undefined;
    this.next();
    return true;
  }

  /** Gives back whole claims: those named, and those that lie below a path named. True when there were any. */
  giveBack(request: unknown, refusal: (fence: string | undefined) => string | undefined): boolean {
    const parsed = this.parse(request, refusal);
    if (!parsed) return false;
    const { id, paths } = parsed;
    const gone = this.writes.filter((claim) => paths.some((path) => covered(claim, path)));
    const strange = paths.filter((path) => !this.writes.some((claim) => covered(claim, path)));
    if (strange.length > 0) {
      const text = `it claims ${this.writes.join(', ') || 'nothing'}, and can give back only that: not ${strange.join(', ')}`;
      this.settle(id, { answer: 'refused', text });
      return false;
    }
    this.writes = this.writes.filter((claim) => !gone.includes(claim));
    this.settle(id, { answer: 'released', text: `${gone.join(', ')} is free for others` });
    return true;
  }

  /** Takes the coordinator's answer in. True when that has to be told. */
  hear({ extension }: Standing): boolean {
    const { current } = this;
    const [ask] = this.asks;
    if (!current || !ask || extension?.number !== current.number) return false;
    const { answer, evidence } = extension;
    const { holder } = evidence;
    const waits = answer === 'waiting';
    if (answer === 'granted') this.writes = union(this.writes, current.paths);
    if (answer === 'retry') this.more = current.paths;
    const text = TEXTS[answer](evidence);
    this.settle(ask.id, { answer, text, ...(holder === undefined ? {} : { holder }) });
    if (waits) return false;
    this.asks.shift();
    this.current = undefined;
    this.next();
    return true;
  }

  /** The attempt is over, and with it what its agent asked for. True when the next one starts with its work. */
  over(dead: boolean): boolean {
    const { more } = this;
    for (const { id } of this.asks) this.settle(id, { answer: 'refused', text: 'the attempt is over' });
    this.asks = [];
    this.current = undefined;
    this.more = undefined;
    // An agent that may be alive holds what it held: the next attempt asks again.
    if (more && dead) this.writes = union(this.writes, more);
    return more !== undefined;
  }

  private next(): boolean {
    const [ask] = this.asks;
    if (!ask || this.current) return false;
    this.asked += 1;
    this.current = { number: this.asked, paths: ask.paths, wait: ask.wait === true };
    return true;
  }

  private settle(id: string, answer: Omit<ClaimAnswer, 'writes'>): void {
    this.answers.delete(id);
    this.answers.set(id, { ...answer, writes: this.writes });
    if (this.answers.size > KEPT_ANSWERS) this.answers.delete(this.answers.keys().next().value as string);
  }

  /** Requests come from anybody who may signal. One that cannot be understood at all is nobody's. */
  private parse(
    request: unknown,
    refusal: (fence: string | undefined) => string | undefined,
  ): ClaimRequest | undefined {
    const { id, paths, wait, fence } = (request ?? {}) as Partial<Record<keyof ClaimRequest, unknown>>;
    if (typeof id !== 'string' || id === '' || this.answers.has(id)) return undefined;
    const named = typeof fence === 'string' ? fence : undefined;
    const problem = problemWith(paths) ?? refusal(named);
    if (problem !== undefined) {
      this.settle(id, { answer: 'refused', text: problem });
      return undefined;
    }
    const normal = (paths as string[]).map((path) => parsePattern(path).text);
    return { id, paths: [...new Set(normal)], wait: wait === true, ...(named ? { fence: named } : {}) };
  }
}

const TEXTS: Record<
  NonNullable<Standing['extension']>['answer'],
  (e: Parameters<typeof explain>[1]) => string
> = {
  granted: () => 'granted: nobody else holds it',
  refused: (e = {}) => (e.holder === undefined ? explain('REPOSITORY_UNKNOWN', e) : explain('PATH_HELD', e)),
  waiting: (e = {}) =>
    e.holder === undefined ? explain('RECOVERING', e) : `waits: ${explain('PATH_HELD', e)}`,
  retry: (e = {}) => `${explain('PATH_HELD', e)}: the attempt ends, and starts again with all the paths`,
};

function problemWith(paths: unknown): string | undefined {
  if (!Array.isArray(paths) || paths.length === 0 || paths.length > MOST_PATHS) return 'no paths are named';
  for (const path of paths) {
    try {
      parsePattern(String(path));
    } catch (error) {
      if (error instanceof BadPattern) return `${JSON.stringify(path)}: ${error.message}`;
      throw error;
    }
  }
  return undefined;
}

/** Whether the claim is the one named, or lies below the path named. */
function covered(claim: string, path: string): boolean {
  const { text } = parsePattern(claim);
  return text === path || path === '.' || (!path.startsWith(':') && text.startsWith(`${path}/`));
}

const union = (a: readonly string[], b: readonly string[]): string[] => [...new Set([...a, ...b])];
