// What a task's workflow knows of its peers: the truth about what people granted it and took back, which the coordinator's
// record follows. It is kept by the task that looks: that one lives while it matters, the owner may have landed long
// ago. A peer is open when the coordinator has said so in answer to the latest word; a revocation closes it at once.

import type { PeerSaid, PeerWord, Standing } from './messages.js';
import { covers, PEER_FROM, type Peer, type PeerFrom } from './peering-grants.js';
import { explain } from './reasons.js';

/** From a person: let the task see the owner, or do so no longer. */
export interface PeerRequest {
  /** Chosen by whoever asks; the answer is found under it. */
  id: string;
  owner: string;
  from?: PeerFrom;
  by?: string;
}

export interface PeerAnswer {
  answer: 'asked' | 'granted' | 'refused' | 'revoked';
  text: string;
  /** The names of the peers concerned. */
  peers: string[];
}

/** A grant that has to be allowed before it counts. */
export interface PeerAsk {
  id: string;
  by: string;
  /** Those that are not granted already. */
  peers: Peer[];
  number: number;
}

export interface Confirmed {
  allowed: boolean;
  text: string;
  /** Milliseconds since the epoch. */
  at: number;
}

/** A peer as it stands, for the task's worker and for people. */
export interface PeerSeen extends Peer {
  granted: boolean;
  text: string;
}

export interface CarriedPeers {
  said: PeerSaid[];
  count: number;
  answers: [string, PeerAnswer][];
}

const KEPT_ANSWERS = 50;
const MOST_BY = 200;
/** Grants that wait to be allowed at once. */
const MOST_ASKS = 20;

export class OwnPeers {
  private readonly entries: Map<string, PeerSaid>;
  private readonly answers: Map<string, PeerAnswer>;
  private readonly asks = new Map<string, PeerAsk>();
  private count: number;

  constructor(
    private readonly task: string,
    private readonly peers: readonly Peer[],
    carried: CarriedPeers | undefined,
  ) {
    this.entries = new Map(carried?.said.map((said) => [said.as, said]));
    this.answers = new Map(carried?.answers);
    this.count = carried?.count ?? 0;
  }

  /** Asks that are not answered yet are not carried: whoever continues as new waits for them. */
  carry(): CarriedPeers {
    return { said: this.said, count: this.count, answers: [...this.answers] };
  }

  get said(): PeerSaid[] {
    return [...this.entries.values()];
  }

  get asking(): boolean {
    return this.asks.size > 0;
  }

  get changed(): boolean {
    return this.entries.size > 0 || this.answers.size > 0;
  }

  answerTo = (id: string): PeerAnswer | undefined => this.answers.get(id);

  /** What has to be allowed first; undefined when there is nothing to allow. */
  ask(request: unknown): PeerAsk | undefined {
    const parsed = this.parse(request);
    if (!parsed) return undefined;
    const { id, by, peers } = parsed;
    const missing = peers.filter(({ as }) => this.entries.get(as)?.word?.granted !== true);
    if (missing.length === 0) {
      this.settle(id, 'granted', peers, `${this.task} may see it already, as ${named(peers)}`);
      return undefined;
    }
    if (this.asks.size >= MOST_ASKS) {
      this.settle(id, 'refused', peers, 'too many grants wait to be allowed: ask again later');
      return undefined;
    }
    const ask = { id, by, peers: missing, number: ++this.count };
    this.asks.set(id, ask);
    this.settle(id, 'asked', peers, 'it is being allowed');
    return ask;
  }

  /** What came of it, in the order of the peers. True when there is something new to tell. */
  confirmed({ id, by, peers, number }: PeerAsk, verdicts: readonly Confirmed[]): boolean {
    this.asks.delete(id);
    const refused = verdicts.find(({ allowed }) => !allowed);
    const since = Math.max(...verdicts.map(({ at }) => at));
    // Whoever took it back meanwhile has the last word.
    const overtaken = peers.some(({ as }) => (this.entries.get(as)?.word?.number ?? 0) > number);
    if (overtaken) {
      this.settle(id, 'refused', peers, 'it was revoked while it was being allowed');
      return false;
    }
    if (refused || verdicts.length < peers.length) {
      const text = refused?.text ?? 'it was not allowed';
      for (const { as } of peers)
        this.entries.set(as, { ...this.entries.get(as), as, refused: { number, by, text } });
      this.settle(id, 'refused', peers, text);
      return true;
    }
    for (const { as } of peers) this.put(as, { granted: true, number: ++this.count, by, since });
    this.settle(id, 'granted', peers, `${this.task} may see it, as ${named(peers)}`);
    return true;
  }

  /** Takes back what a person or a rule granted. True when there is something new to tell. */
  revoke(request: unknown): boolean {
    const parsed = this.parse(request);
    if (!parsed) return false;
    const { id, by, peers } = parsed;
    for (const { as } of peers) this.put(as, { granted: false, number: ++this.count, by });
    this.settle(id, 'revoked', peers, `${this.task} may not see it any longer, as ${named(peers)}`);
    return true;
  }

  /** Keeps whom the owners are said to be. */
  hear({ peers = [] }: Pick<Standing, 'peers'>): void {
    for (const { as, owner } of peers)
      if (owner && this.peers.some((peer) => peer.as === as))
        this.entries.set(as, { ...this.entries.get(as), as, owner });
  }

  /** All its peers as they stand. */
  seen(standing: Pick<Standing, 'peers'> | undefined): PeerSeen[] {
    return this.peers.map((peer) => {
      const told = standing?.peers?.find(({ as }) => as === peer.as);
      const word = this.entries.get(peer.as)?.word;
      const heard = told !== undefined && told.word === (word?.number ?? 0);
      const evidence = { as: peer.as, peer: peer.task, ...(word ? { by: word.by } : {}) };
      const code = heard ? told.code : word?.granted === false ? 'PEER_REVOKED' : 'PEER_UNGRANTED';
      return {
        ...peer,
        granted: heard && told.granted && word?.granted !== false,
        text: explain(code, heard ? told.evidence : evidence),
      };
    });
  }

  private put(as: string, word: PeerWord): void {
    const { refused: _, ...known } = this.entries.get(as) ?? { as };
    this.entries.set(as, { ...known, as, word });
  }

  private settle(id: string, answer: PeerAnswer['answer'], peers: readonly Peer[], text: string): void {
    this.answers.delete(id);
    this.answers.set(id, { answer, text, peers: peers.map(({ as }) => as) });
    if (this.answers.size > KEPT_ANSWERS) this.answers.delete(this.answers.keys().next().value as string);
  }

  /** Requests come from anybody who may signal. One that cannot be understood at all is nobody's. */
  private parse(request: unknown): { id: string; by: string; peers: Peer[] } | undefined {
    const { id, owner, from, by } = (request ?? {}) as Partial<Record<keyof PeerRequest, unknown>>;
    if (typeof id !== 'string' || id === '' || this.answers.has(id)) return undefined;
    const declared = this.peers.filter(({ task }) => task === owner);
    const problem =
      from !== undefined && !PEER_FROM.some((one) => one === from)
        ? `from is ${PEER_FROM.join(' or ')}`
        : declared.length === 0
          ? `${this.task} does not ask to see ${String(owner).slice(0, MOST_BY)}: ${this.declared()}`
          : undefined;
    const peers = declared.filter((peer) => covers(from as PeerFrom | undefined, peer.from));
    if (problem !== undefined || peers.length === 0) {
      const text =
        problem ??
        `${this.task} asks to see the working tree of ${owner}, which --from commit does not allow`;
      this.settle(id, 'refused', [], text);
      return undefined;
    }
    return { id, peers, by: typeof by === 'string' && by !== '' ? by.slice(0, MOST_BY) : 'somebody' };
  }

  private declared(): string {
    const names = [...new Set(this.peers.map(({ task }) => task))];
    return names.length === 0 ? 'it names no peers' : `its peers are ${names.join(', ')}`;
  }
}

const named = (peers: readonly Peer[]): string => peers.map(({ as }) => `.shared/${as}`).join(', ');
