// Landing: the writer's hand on the shared branch. Each landing is one atomic push of branch and ledger, each from
// its expected old value. Whoever was killed before, during or after the push finds out from the ledger what landed:
// a landing that the ledger has is never pushed again, one that it has not was not pushed.

import { activityInfo, Context, heartbeat } from '@temporalio/activity';
import { CancelledFailure } from '@temporalio/common';
import { roleRepository } from '../src/domain/config.js';
import { ledgerRef } from '../src/domain/ids.js';
import { fateOf, type LedgerEntry } from '../src/domain/ledger.js';
import type { LandingOrder, LandingResult, Outside } from '../src/domain/messages.js';
import { rightsOf } from '../src/domain/surfaces.js';
import { type DeployContext, deployNow } from './checkout.js';
import { type Host, mirrorOf } from './host.js';
import { integrate } from './integrate.js';
import { appendEntry, type LedgerView, readLedger } from './ledger.js';
import type { Mirror } from './mirror.js';
import { regenerate } from './regenerate.js';
import { changesBetween, commitTree, pathText } from './trees.js';
import { verifyTree } from './verify.js';

/** The remote may refuse the same push so often before that is taken for an answer (a hook, a protected branch). */
const REFUSALS = 3;

/** Quick landings are told of together; after so many milliseconds no other is begun, for somebody waits for the first. */
const BATCH_MS = 500;

export interface LandInput {
  role: string;
  orders: LandingOrder[];
}

export interface DeployInput {
  role: string;
  order: LandingOrder;
  commit: string;
}

export type Deployed = { ok: true } | { ok: false; code: 'DEPLOY_FAILED' | 'SURFACE_FAILED'; text: string };

/** `deploy`: the landing is on the branch and still has to be deployed and seen. */
export type Landed = LandingResult & { deploy?: boolean };

export function landingActivities(host: Host) {
  return {
    /** A writer's new life: every push of an earlier one that is still on its way fails from now on. */
    async takeOver(role: string): Promise<void> {
      const mirror = writerMirror(host, role);
      await openLedger(mirror, `writer of role ${role} starts`);
      await moveLedgerAlone(mirror, { kind: 'taken-over', reason: 'the writer starts a new life' });
    },

    /**
     * Lands the orders one after the other, as many as go quickly; results in their order. A role with a deploy gets
     * one at a time.
     */
    land: (input: LandInput): Promise<Landed[]> => landAll(host, input),

    /** Withdraws a landing by moving the ledger first; tells if it had landed already. */
    async withdraw(input: { role: string; order: LandingOrder }): Promise<Landed> {
      const { order } = input;
      const mirror = writerMirror(host, input.role);
      for (;;) {
        await fetchBranch(mirror);
        const ledger = await readLedger(mirror);
        const fate = fateOf(ledger.entries, order.id);
        if (fate) return await resultOf(host, input.role, order, fate, ledger);
        const tip = await mirror.resolve(`refs/heads/${mirror.branch}`);
        const entry = {
          kind: 'withdrawn' as const,
          landing: order.id,
          task: order.task,
          fence: order.fence,
          from: tip,
          to: tip,
        };
        if ((await appendEntry(mirror, ledger, entry)) === undefined)
          return { id: order.id, kind: 'withdrawn' };
        await pause();
      }
    },

    /** Deploys what landed and looks at the public surface; settles the ledger entry, or rolls the landing back. */
    deploy: (input: DeployInput): Promise<Deployed> => deployAndSee(host, input),
  };
}

async function landAll(host: Host, input: LandInput): Promise<Landed[]> {
  const mirror = writerMirror(host, input.role);
  const beat = setInterval(() => heartbeat(), 2_000);
  try {
    // An earlier try of this activity may be alive somewhere with a push in its hand.
    if (activityInfo().attempt > 1) {
      await openLedger(mirror, 'opened');
      await moveLedgerAlone(mirror, {
        kind: 'taken-over',
        reason: `landing is tried again (${activityInfo().attempt})`,
      });
    }
    const results: Landed[] = [];
    // With a deploy the next one may only be pushed when this one is settled.
    const one = host.config.roles[input.role]?.deploy !== undefined;
    const started = performance.now();
    for (const order of one ? input.orders.slice(0, 1) : input.orders) {
      if (Context.current().cancellationSignal.aborted) break;
      if (performance.now() - started > BATCH_MS && results.length > 0) break;
      results.push(await landOne(host, mirror, input.role, order));
    }
    return results;
  } finally {
    clearInterval(beat);
  }
}

async function deployAndSee(host: Host, input: DeployInput): Promise<Deployed> {
  const beat = setInterval(() => heartbeat(), 2_000);
  const { role, order, commit } = input;
  const mirror = writerMirror(host, role);
  const context = contextOf(host, mirror, role, order, commit);
  try {
    await fetchBranch(mirror);
    const known = fateOf((await readLedger(mirror)).entries, order.id);
    if (known?.kind === 'rolled-back')
      return { ok: false, code: 'DEPLOY_FAILED', text: known.reason ?? 'rolled back' };
    const failure = await deployNow(context);
    if (!failure) {
      await settleEntry(mirror, order, commit);
      return { ok: true };
    }
    if (Context.current().cancellationSignal.aborted) throw new CancelledFailure('the deploy was stopped');
    const restored = await rollBack(mirror, order, commit, failure.text);
    // The former tree is deployed again; if that fails too the frozen role and this text tell.
    const again = restored ? await deployNow({ ...context, commit: restored }) : undefined;
    const text = `${failure.text}${restored ? '' : '; the branch had moved on and was not rolled back'}${again ? `; deploying the former state failed as well: ${again.text}` : ''}`;
    return { ok: false, code: failure.code, text };
  } finally {
    clearInterval(beat);
  }
}

function contextOf(
  host: Host,
  mirror: Mirror,
  role: string,
  order: LandingOrder,
  commit: string,
): DeployContext {
  return { host, mirror, role, commit, task: order.task, signal: Context.current().cancellationSignal };
}

function writerMirror(host: Host, role: string): Mirror {
  const rule = host.config.roles[role];
  if (!rule) throw new Error(`the configuration in force has no role "${role}"`);
  return mirrorOf(host, roleRepository(rule));
}

async function fetchBranch(mirror: Mirror, more: string[] = []): Promise<void> {
  const { branch } = mirror;
  await mirror.fetch([
    `+refs/heads/${branch}:refs/heads/${branch}`,
    `+${ledgerRef('*')}:${ledgerRef('*')}`,
    ...more,
  ]);
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 50 + Math.random() * 100));

/** The ledger's first entry: where the branch stood when Signalbox came. */
async function openLedger(mirror: Mirror, reason: string): Promise<void> {
  for (;;) {
    await fetchBranch(mirror);
    const ledger = await readLedger(mirror);
    if (ledger.tip !== undefined) return;
    const tip = await mirror.resolve(`refs/heads/${mirror.branch}`);
    const problem = await appendEntry(mirror, ledger, { kind: 'opened', from: tip, to: tip, reason });
    if (problem === undefined) return;
    await fetchBranch(mirror);
    if ((await readLedger(mirror)).tip === undefined)
      throw new Error(`the ledger cannot be opened: ${problem}`);
  }
}

async function moveLedgerAlone(mirror: Mirror, entry: { kind: 'taken-over'; reason: string }): Promise<void> {
  for (let round = 1; ; round++) {
    await fetchBranch(mirror);
    const tip = await mirror.resolve(`refs/heads/${mirror.branch}`);
    const problem = await appendEntry(mirror, await readLedger(mirror), { ...entry, from: tip, to: tip });
    if (problem === undefined) return;
    if (round > 20) throw new Error(`the ledger cannot be moved: ${problem}`);
    await pause();
  }
}

async function landOne(host: Host, mirror: Mirror, role: string, order: LandingOrder): Promise<Landed> {
  const { caseInsensitive = false, anyTree, claims } = host.config.repositories[mirror.name] ?? {};
  const rights = rightsOf(order.writes, { repository: mirror.name, caseInsensitive, claims, role });
  let refusals = 0;
  let before = '';
  let verified = '';
  for (let round = 1; ; round++) {
    // With nothing to verify, a push from what is known here is the cheapest way to find out whether it still holds.
    if (round > 1 || host.config.roles[role]?.verify.length !== 0 || !(await isKnown(mirror, order))) {
      await fetchBranch(mirror, [
        `+refs/signalbox/attempts/${order.task}/*:refs/signalbox/attempts/${order.task}/*`,
      ]);
    }
    const [tip, ledger] = [await mirror.resolve(`refs/heads/${mirror.branch}`), await readLedger(mirror)];
    if (ledger.tip === undefined) {
      await openLedger(mirror, 'opened');
      continue;
    }
    const fate = fateOf(ledger.entries, order.id);
    if (fate) return await resultOf(host, role, order, fate, ledger);
    if ((await mirror.find(order.commit)) === undefined)
      return refuse(order, 'LANDING_REFUSED', `commit ${order.commit} is nowhere to be found`);
    const outside = await pushedOutside(mirror, ledger, tip);
    const no = (code: Extract<Landed, { kind: 'refused' }>['code'], text: string) => ({
      ...refuse(order, code, text),
      ...outside,
    });
    const integrated = await integrate(mirror, order, tip, rights, anyTree);
    if (integrated.kind === 'refused') return no(integrated.code, integrated.text);
    const { behind, aside } = integrated;
    const context = contextOf(host, mirror, role, order, integrated.commit);
    const generated = await regenerate(context, aside);
    stopIfCancelled();
    if (generated.kind === 'failed') return no('REGENERATE_FAILED', generated.text);
    const { commit, paths } = generated;
    const tree = await mirror.treeOf(commit);
    if (tree !== verified) {
      const failure = await verifyTree({ ...context, commit });
      stopIfCancelled();
      if (failure) return no('VERIFY_FAILED', failure);
      verified = tree;
    }
    const problem = await pushLanding(mirror, ledger, order, { tip, commit, behind, regenerated: paths });
    if (problem === undefined) {
      const result = landed(host, role, order, { to: commit, number: ledger.entries.length + 1, behind });
      const changed = await pathsBetween(mirror, tip, commit);
      return { ...result, ...(changed ? { changed } : {}), ...outside };
    }
    // Something moved meanwhile, or the answer was lost: look again. A remote that refuses what has not moved says no.
    const seen = `${tip} ${ledger.tip}`;
    refusals = seen === before ? refusals + 1 : 1;
    before = seen;
    if (refusals > REFUSALS) return refuse(order, 'LANDING_REFUSED', problem);
    await pause();
  }
}

/** More than so many changed paths are not listed one by one. */
const MOST_PATHS = 200;

/** The paths that changed, as far as they can be listed. */
async function pathsBetween(mirror: Mirror, from: string, to: string): Promise<string[] | undefined> {
  const changes = await changesBetween(mirror, from, to);
  return changes.length > MOST_PATHS ? undefined : changes.map(({ path }) => pathText(path));
}

/** What others have pushed since the fleet last changed the branch. */
async function pushedOutside(
  mirror: Mirror,
  ledger: LedgerView,
  tip: string,
): Promise<{ outside?: Outside }> {
  // A writer that takes over or withdraws notes where the branch stands, and may be the first to see a push.
  const last = ledger.entries.findLast(({ kind }) => kind !== 'taken-over' && kind !== 'withdrawn')?.to;
  if (last === undefined || last === tip || (await mirror.find(last)) === undefined) return {};
  return { outside: { commit: tip, paths: (await pathsBetween(mirror, last, tip)) ?? ['.'] } };
}

function stopIfCancelled(): void {
  if (Context.current().cancellationSignal.aborted) throw new CancelledFailure('the landing was stopped');
}

/** Whether this host has a ledger and the commits, so that it can try without asking first. */
const isKnown = async (mirror: Mirror, order: LandingOrder): Promise<boolean> =>
  (await mirror.find(ledgerRef(mirror.branch))) !== undefined &&
  (await mirror.find(order.ref)) === order.commit;

async function pushLanding(
  mirror: Mirror,
  ledger: LedgerView,
  order: LandingOrder,
  landing: { tip: string; commit: string; behind: number; regenerated: string[] },
): Promise<string | undefined> {
  const { tip, commit, behind, regenerated } = landing;
  const head = `refs/heads/${mirror.branch}`;
  const updates = [`--force-with-lease=${head}:${tip}`, `${commit}:${head}`];
  // The attempt's own ref has served: its commits are on the branch with this very push.
  if ((await mirror.find(order.ref)) === order.commit)
    updates.unshift(`--force-with-lease=${order.ref}:${order.commit}`, `:${order.ref}`);
  const entry = {
    kind: 'landed' as const,
    landing: order.id,
    task: order.task,
    fence: order.fence,
    from: tip,
    to: commit,
    behind,
    ...(regenerated.length > 0 ? { regenerated: regenerated.slice(0, 100) } : {}),
    ...(order.title ? { title: order.title } : {}),
  };
  return await appendEntry(mirror, ledger, entry, updates, { [head]: commit });
}

const refuse = (
  order: LandingOrder,
  code: Extract<Landed, { kind: 'refused' }>['code'],
  text: string,
): Landed => ({ id: order.id, kind: 'refused', code, text: text.slice(-2_000) });

function landed(
  host: Host,
  role: string,
  order: LandingOrder,
  entry: { to: string; number: number; behind?: number | undefined },
): Landed {
  const rule = host.config.roles[role];
  const deploy = rule?.deploy !== undefined;
  const commands = rule?.verify.length ?? 0;
  return {
    id: order.id,
    kind: 'landed',
    commit: entry.to,
    entry: entry.number,
    behind: entry.behind ?? 0,
    ...(rule && commands > 0 ? { verified: { commands, isolation: rule.verifyIn.isolation } } : {}),
    deploy,
  };
}

/** What became of a landing in an earlier life of its writer. */
async function resultOf(
  host: Host,
  role: string,
  order: LandingOrder,
  fate: LedgerEntry,
  ledger: LedgerView,
): Promise<Landed> {
  if (fate.kind === 'withdrawn') return { id: order.id, kind: 'withdrawn' };
  if (fate.kind === 'rolled-back')
    return { id: order.id, kind: 'rolled-back', code: 'DEPLOY_FAILED', text: fate.reason ?? '' };
  const settled = ledger.entries.some((entry) => entry.kind === 'settled' && entry.landing === order.id);
  const result = landed(host, role, order, fate);
  return settled ? { ...result, deploy: false } : result;
}

async function settleEntry(mirror: Mirror, order: LandingOrder, commit: string): Promise<void> {
  for (let round = 1; ; round++) {
    await fetchBranch(mirror);
    const ledger = await readLedger(mirror);
    if (ledger.entries.some((entry) => entry.kind === 'settled' && entry.landing === order.id)) return;
    const problem = await appendEntry(mirror, ledger, {
      kind: 'settled',
      landing: order.id,
      task: order.task,
      from: commit,
      to: commit,
    });
    if (problem === undefined) return;
    if (round > 20) throw new Error(`the ledger entry of ${order.id} cannot be settled: ${problem}`);
    await pause();
  }
}

/**
 * Puts the tree from before the landing back on the branch, as a new commit. Gives that commit; undefined when the
 * branch has moved on since, for then somebody else's work stands on it.
 */
async function rollBack(
  mirror: Mirror,
  order: LandingOrder,
  commit: string,
  reason: string,
): Promise<string | undefined> {
  for (let round = 1; ; round++) {
    await fetchBranch(mirror);
    const [tip, ledger] = [await mirror.resolve(`refs/heads/${mirror.branch}`), await readLedger(mirror)];
    const fate = fateOf(ledger.entries, order.id);
    if (fate?.kind === 'rolled-back') return fate.to;
    if (tip !== commit || !fate) return undefined;
    const tree = await mirror.treeOf(fate.from);
    const message = `Roll back ${order.task}\n\nThis restores the tree of ${fate.from}.\n${reason}\n`;
    const restored = await commitTree(mirror, tree, [tip], message);
    const head = `refs/heads/${mirror.branch}`;
    const entry = {
      kind: 'rolled-back' as const,
      landing: order.id,
      task: order.task,
      fence: order.fence,
      from: tip,
      to: restored,
      reason: reason.slice(-500),
    };
    const problem = await appendEntry(
      mirror,
      ledger,
      entry,
      [`--force-with-lease=${head}:${tip}`, `${restored}:${head}`],
      { [head]: restored },
    );
    if (problem === undefined) return restored;
    if (round > 20) throw new Error(`${order.task} cannot be rolled back: ${problem}`);
    await pause();
  }
}
