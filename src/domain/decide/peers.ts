// What a task may see of others: what people granted, as the task's own workflow says, else what a rule of the configuration
// grants. A revocation counts more than any rule. Each change is noted with the task that looks and with the owner.

import type { PeerSaid, PeerTold } from '../messages.js';
import { type PartyFacts, type Peer, ruleFor, ruleText } from '../peering-grants.js';
import type { Evidence, ReasonCode } from '../reasons.js';
import { kindOf, type State, type TaskRecord } from '../state.js';
import { note, type Taken } from '../transitions.js';

/** Brings what the task may see in line with what it says that people said. */
export function followPeers(state: State, task: TaskRecord, said: readonly PeerSaid[], now: number): Taken[] {
  const { peers } = task.facts;
  if (!peers || task.phase === 'ended') return [];
  task.peersSaid = said;
  return judgePeers(state, task, peers, now);
}

/** The configuration is another one. */
export function peersByRules(state: State, now: number): Taken[] {
  const lookers = new Set([...state.lookers.values()].flatMap((ids) => [...ids]));
  return [...lookers].flatMap((id) => judgeAgain(state, id, now));
}

/** The task is known from now on: what others may see of it can be judged. */
export const peersOfOwner = (state: State, owner: string, now: number): Taken[] =>
  [...(state.lookers.get(owner) ?? [])].flatMap((id) => judgeAgain(state, id, now));

function judgeAgain(state: State, id: string, now: number): Taken[] {
  const task = state.tasks.get(id);
  if (!task?.facts.peers || task.phase === 'ended') return [];
  return judgePeers(state, task, task.facts.peers, now);
}

function judgePeers(state: State, task: TaskRecord, peers: readonly Peer[], now: number): Taken[] {
  const before = new Map(task.peers?.map((told) => [told.as, told]));
  const taken: Taken[] = [];
  task.peers = peers.map((peer) => {
    const said = task.peersSaid?.find(({ as }) => as === peer.as);
    const known = before.get(peer.as);
    const told = { ...judge(state, task, peer, said, known), refused: known?.refused ?? 0 };
    if (said?.refused && said.refused.number > told.refused) {
      const { number, by, text } = said.refused;
      told.refused = number;
      taken.push(note(state, task, 'PEER_REFUSED', { ...about(peer), by, text }, now));
    }
    // The standing tells all peers: it is due when any of them is another.
    if (!known || known.word !== told.word || known.granted !== told.granted)
      state.due.standings.add(task.id);
    if (known?.code !== told.code || known.evidence.by !== told.evidence.by)
      taken.push(note(state, task, told.code, told.evidence, now));
    taken.push(...tellOwner(state, task, peer, told, now));
    return told;
  });
  if (taken.length > 0) state.due.standings.add(task.id);
  return taken;
}

const about = ({ task, as, from }: Peer): Evidence => ({ peer: task, as, from });

function judge(
  state: State,
  task: TaskRecord,
  peer: Peer,
  said: PeerSaid | undefined,
  known: PeerTold | undefined,
): PeerTold {
  const owner = ownerOf(state, peer) ?? said?.owner ?? known?.owner;
  const told = (granted: boolean, code: ReasonCode, evidence: Evidence): PeerTold => ({
    as: peer.as,
    granted,
    code,
    evidence: { ...about(peer), ...evidence },
    word: said?.word?.number ?? 0,
    ...(owner ? { owner } : {}),
  });
  if (said?.word) {
    const { granted, by, since } = said.word;
    const evidence = { by, ...(since === undefined ? {} : { since }) };
    return told(granted, granted ? 'PEER_GRANTED' : 'PEER_REVOKED', evidence);
  }
  const rule = owner && ruleFor(state.rules.peering ?? [], owner, partyOf(state, task), peer.from);
  return rule ? told(true, 'PEER_BY_RULE', { text: ruleText(rule) }) : told(false, 'PEER_UNGRANTED', {});
}

function ownerOf(state: State, { task: id }: Peer): PartyFacts | undefined {
  const owner = state.tasks.get(id);
  // Of one that was looked up no more is known than how it ended.
  return owner && owner.life !== '' ? partyOf(state, owner) : undefined;
}

function partyOf(state: State, { facts }: TaskRecord): PartyFacts {
  const agent = kindOf(state.rules, facts);
  return { ...(facts.role ? { role: facts.role } : {}), ...(agent ? { agent } : {}) };
}

/** The owner's story says who may see it, and who may no longer; said once, whenever the owner is heard of. */
function tellOwner(state: State, task: TaskRecord, peer: Peer, told: PeerTold, now: number): Taken[] {
  const owner = state.tasks.get(peer.task);
  if (!owner || owner.life === '') return [];
  const last = owner.decisions.findLast(
    ({ code, evidence }) =>
      (code === 'PEER_SHOWN' || code === 'PEER_HIDDEN') &&
      evidence.holder === task.id &&
      evidence.as === peer.as,
  );
  if ((last?.code === 'PEER_SHOWN') === told.granted) return [];
  const { by, text } = told.evidence;
  const evidence = {
    holder: task.id,
    as: peer.as,
    from: peer.from,
    ...(by ? { by } : {}),
    ...(text ? { text } : {}),
  };
  return [note(state, owner, told.granted ? 'PEER_SHOWN' : 'PEER_HIDDEN', evidence, now)];
}
