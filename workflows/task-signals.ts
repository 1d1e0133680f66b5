// What a task's workflow is told and asked, by name.

import { defineQuery, defineSignal } from '@temporalio/workflow';
import { QUERY, SIGNAL } from '../src/domain/ids.js';
import type { Standing } from '../src/domain/messages.js';
import type { ClaimAnswer, ClaimRequest } from '../src/domain/own-claims.js';
import type { PeerAnswer, PeerRequest, PeerSeen } from '../src/domain/own-peers.js';
import type { EndedAttempt } from '../src/domain/packet.js';

export const standingSignal = defineSignal<[Standing]>(SIGNAL.standing);
export const announceSignal = defineSignal<[number?]>(SIGNAL.announce);
export const cancelSignal = defineSignal<[{ reason?: string; by?: string }]>(SIGNAL.cancel);
export const blockSignal = defineSignal<[{ on: string; until?: string; by?: string }]>(SIGNAL.block);
export const extendSignal = defineSignal<[ClaimRequest]>(SIGNAL.extend);
export const goWithoutSignal = defineSignal<[string]>(SIGNAL.goWithout);
export const giveBackSignal = defineSignal<[ClaimRequest]>(SIGNAL.giveBack);
export const grantPeerSignal = defineSignal<[PeerRequest]>(SIGNAL.grantPeer);
export const revokePeerSignal = defineSignal<[PeerRequest]>(SIGNAL.revokePeer);
export const claimAnswerQuery = defineQuery<ClaimAnswer | undefined, [string]>(QUERY.claimAnswer);
export const attemptsQuery = defineQuery<EndedAttempt[]>(QUERY.attempts);
export const peerAnswerQuery = defineQuery<PeerAnswer | undefined, [string]>(QUERY.peerAnswer);
export const peersQuery = defineQuery<PeerSeen[]>(QUERY.peers);
export const stateQuery = defineQuery<{ phase: string; attempt: number; why?: string }>(QUERY.state);
