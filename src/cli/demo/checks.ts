// Did it happen as the demo says it would? Judged by what is written down (change packets, ledger, the branch), by the
// public page and by the process table, never by what was shown on the way.

import { setTimeout as sleep } from 'node:timers/promises';
import { readLedger, readPackets } from '../../client/records.js';
import { audit } from '../../domain/audit.js';
import { rulesOf } from '../../domain/config.js';
import { taskWorkflowId } from '../../domain/ids.js';
import type { LedgerEntry } from '../../domain/ledger.js';
import type { Packet } from '../../domain/packet.js';
import { overlaps, parsePattern } from '../../domain/paths.js';
import { agentsBelow } from './processes.js';
import { contains, hasRefs, tipOf } from './repository.js';
import type { Stage } from './stage.js';
import { type Deeds, ISSUE } from './world.js';

/** Everything that the demo left behind. */
export interface Evidence {
  submitted: string[];
  /** One of each task; by the task's id in its plan. */
  packets: Map<string, Packet>;
  ledger: LedgerEntry[];
  /** What the coordinator's invariants say. */
  violations: string[];
  tip: string;
  page: string;
  deeds: Deeds;
  agentsLeft: number[];
  wishlistKept: boolean;
  /** The migration's commit was in what billing's agent started from. */
  billingHadMigration: boolean;
  /** The person's commit: not in what the banner's agent started from, but in what landed. */
  bannerSynced: boolean;
}

export interface Finding {
  held: boolean;
  /** What was expected, and what shows that it was so or was not. */
  text: string;
}

const PAGE_MS = 10_000;
const WORKFLOW_MS = 30_000;

export async function gather(stage: Stage, submitted: string[], deeds: Deeds): Promise<Evidence> {
  const { fleet, origin, shopUrl, dir } = stage;
  await workflowsEnd(stage, submitted);
  const all = await readPackets(fleet);
  const packets = new Map(all.map((packet) => [shortName(packet.task), packet]));
  const ledger = await readLedger(origin, 'main');
  const rules = rulesOf(fleet.config);
  const { ceiling, roles } = rules;
  const maxRunning = Object.fromEntries(Object.entries(roles).map(([role, rule]) => [role, rule.maxRunning]));
  const base = (id: string) => lastBase(packets.get(id));
  const landed = (id: string) => packets.get(id)?.outcome.commit ?? '';
  const plan = submitted[0]?.split('/')[0] ?? '';
  const synced = deeds.pushed !== undefined && !(await contains(origin, base('banner'), deeds.pushed));
  return {
    submitted,
    packets,
    ledger,
    violations: audit({ submitted, packets: all, ledger, ceiling, maxRunning, kinds: rules, places: rules }),
    tip: await tipOf(origin),
    page: await fetch(shopUrl, { signal: AbortSignal.timeout(PAGE_MS) }).then(
      (answer) => answer.text(),
      String,
    ),
    deeds,
    agentsLeft: agentsBelow(dir),
    wishlistKept: await hasRefs(origin, `refs/signalbox/attempts/${plan}/wishlist/`),
    billingHadMigration: await contains(origin, base('billing'), landed('migration')),
    bannerSynced: synced && (await contains(origin, landed('banner'), deeds.pushed ?? '')),
  };
}

/** The last that a task's workflow does is to write its packet. */
async function workflowsEnd({ signalbox }: Stage, ids: string[]): Promise<void> {
  const { client, config } = signalbox;
  const ends = ids.map((id) =>
    client.workflow
      .getHandle(taskWorkflowId(config.fleet, id))
      .result()
      .catch(() => undefined),
  );
  await Promise.race([Promise.all(ends), sleep(WORKFLOW_MS, undefined, { ref: false })]);
}

export const shortName = (task: string): string => task.slice(task.indexOf('/') + 1);

export const landingOf = ({ ledger }: Evidence, task: string): LedgerEntry | undefined =>
  ledger.findLast((entry) => entry.kind === 'landed' && entry.task === task);

function lastBase(packet: Packet | undefined): string {
  const result = packet?.attempts.at(-1)?.result;
  return result?.kind === 'commits' ? result.base : '';
}

const EXPECTED: Record<string, 'landed' | 'finished' | 'cancelled'> = {
  docs: 'landed',
  detector: 'landed',
  'cart-totals': 'landed',
  'cart-coupons': 'landed',
  migration: 'landed',
  billing: 'landed',
  banner: 'landed',
  'study-cart': 'finished',
  'study-schema': 'finished',
  'study-guide': 'finished',
  wishlist: 'cancelled',
  'wishlist-page': 'cancelled',
};

/** What was to be seen, and whether it was. */
export function examine(evidence: Evidence): Finding[] {
  const { violations, packets, ledger, agentsLeft } = evidence;
  return [
    ...outcomes(evidence),
    sideBySide(evidence),
    heldByName(evidence),
    {
      held: evidence.billingHadMigration,
      text: 'billing started from a main that holds the landed migration',
    },
    ...['study-cart', 'study-schema', 'study-guide'].map((id) => passedWriter(evidence, id)),
    ...cancelled(evidence),
    synced(evidence),
    published(evidence),
    {
      held: agentsLeft.length === 0,
      text: `no process of an agent is left${agentsLeft.length > 0 ? `: ${agentsLeft.join(', ')}` : ''}`,
    },
    ...violations.map((text) => ({ held: false, text: `invariant: ${text}` })),
    ...(violations.length === 0
      ? [
          {
            held: true,
            text: `the invariants hold on ${packets.size} change packets and ${ledger.length} ledger entries`,
          },
        ]
      : []),
  ];
}

/** Only what went otherwise is worth a line: the rest is shown at length. */
function outcomes({ packets, submitted }: Evidence): Finding[] {
  return submitted.flatMap((task) => {
    const id = shortName(task);
    const outcome = packets.get(id)?.outcome;
    const wanted = EXPECTED[id];
    if (!outcome || outcome.kind === wanted) return [];
    return [
      {
        held: false,
        text: `${id} should have ${wanted === 'cancelled' ? 'been ' : ''}${wanted}, but ${outcome.kind}: ${outcome.text}`,
      },
    ];
  });
}

/** For how long the agents of both ran at the same time, in milliseconds; 0 when they never did. */
function together(a: Packet | undefined, b: Packet | undefined): number {
  const spans = [a, b].map((packet) =>
    (packet?.attempts ?? []).map(
      ({ started, ended }) => [Date.parse(started), Date.parse(ended ?? started)] as const,
    ),
  );
  const overlapsOf = (spans[0] ?? []).flatMap((x) =>
    (spans[1] ?? []).map((y) => Math.min(x[1], y[1]) - Math.max(x[0], y[0])),
  );
  return Math.max(0, ...overlapsOf);
}

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;

function sideBySide({ packets }: Evidence): Finding {
  const ms = together(packets.get('docs'), packets.get('detector'));
  return {
    held: ms > 0,
    text: `docs and detector ran side by side${ms > 0 ? ` for ${seconds(ms)}` : ': never at the same time'}`,
  };
}

function heldByName({ packets }: Evidence): Finding {
  const pair = [packets.get('cart-totals'), packets.get('cart-coupons')];
  for (const [second, first] of [pair, [...pair].reverse()]) {
    const hold = second?.decisions.find(
      ({ verdict, code, evidence }) =>
        verdict === 'hold' && code === 'PATH_HELD' && evidence.holder === first?.task,
    );
    if (!hold || !second || !first) continue;
    const held = together(first, second) === 0;
    return {
      held,
      text: `${shortName(second.task)} was held on ${hold.evidence.path} by name of ${hold.evidence.holder}${held ? '' : ', and yet ran beside it'}`,
    };
  }
  return { held: false, text: 'of cart-totals and cart-coupons one was held by name of the other' };
}

/** The task read what a writer was changing at the same time, and waited for nobody. */
function passedWriter({ packets }: Evidence, id: string): Finding {
  const study = packets.get(id);
  const reads = (study?.reads ?? []).map(parsePattern);
  const writer = [...packets.values()].find(
    (other) =>
      other.writes.map(parsePattern).some((claim) => reads.some((read) => overlaps(read, claim))) &&
      together(study, other) > 0,
  );
  const waited =
    study?.decisions.some(({ code }) => code === 'PATH_HELD' || code === 'PATHS_RESTING') === true;
  const text = `${id} read ${study?.reads.join(', ')} while ${writer ? shortName(writer.task) : 'its writer'} was writing there, and waited for nobody`;
  return { held: writer !== undefined && !waited, text };
}

function cancelled({ packets, deeds, wishlistKept }: Evidence): Finding[] {
  const [task, downstream] = [packets.get('wishlist'), packets.get('wishlist-page')];
  const inTime = deeds.issueClosed && task?.outcome.code === 'ISSUE_CLOSED' && task.attempts.length > 0;
  return [
    {
      held: inTime === true,
      text: `wishlist was cancelled while its agent ran, because issue ${ISSUE} was closed`,
    },
    {
      held: downstream?.outcome.code === 'UPSTREAM_CANCELLED' && downstream.attempts.length === 0,
      text: 'wishlist-page, which waited for it, was cancelled and never ran',
    },
    { held: wishlistKept, text: 'what wishlist had committed by then is kept under refs/signalbox/attempts' },
  ];
}

function synced(evidence: Evidence): Finding {
  const packet = evidence.packets.get('banner');
  const behind = packet ? (landingOf(evidence, packet.task)?.behind ?? 0) : 0;
  const commits = `${behind} commit${behind === 1 ? '' : 's'}`;
  return {
    held: evidence.bannerSynced && behind > 0,
    text: `main moved under banner by ${commits}, a person's among them, and it was synced before it landed`,
  };
}

function published({ page, tip, ledger }: Evidence): Finding {
  const deployed = ledger.findLast((entry) => entry.kind === 'landed')?.to;
  const held = deployed === tip && page.includes(tip) && page.includes('Free delivery');
  return { held, text: `the public page shows the banner and the tip of main, ${tip.slice(0, 12)}` };
}
