// What the demo tells at its end, as text and as JSON.

import { clean, type Packet, printPacket } from '../../domain/packet.js';
import { table } from '../table.js';
import { type Evidence, type Finding, landingOf, shortName } from './checks.js';
import type { Stage } from './stage.js';
import { ISSUE } from './world.js';

export interface Ending {
  stage: Stage;
  evidence: Evidence;
  findings: Finding[];
  took: string;
  keep: boolean;
}

export const webUi = ({ temporal }: Stage): string | undefined =>
  temporal.uiUrl && `${temporal.uiUrl}/namespaces/${temporal.namespace}/workflows`;

export function asText(ending: Ending): string {
  const { evidence, stage, findings, took, keep } = ending;
  const failures = findings.filter(({ held }) => !held);
  const packets = inPlanOrder(evidence);
  const of = (kind: Packet['outcome']['kind']) => packets.filter(({ outcome }) => outcome.kind === kind);
  const failed = of('failed');
  const lines = [
    ...section(
      'Landed on main, in this order (BEHIND: the commits that main had moved by since the agent began)',
      landed(evidence),
    ),
    ...section(
      'Finished (read-only)',
      cells(of('finished').map((packet) => [shortName(packet.task), reportOf(packet)])),
    ),
    ...section(
      'Cancelled',
      cells(
        of('cancelled').map(({ task, outcome }) => [shortName(task), `${outcome.text} [${outcome.code}]`]),
      ),
    ),
    ...(failed.length > 0
      ? section('Failed', cells(failed.map(({ task, outcome }) => [shortName(task), outcome.text])))
      : []),
    ...section(`The page as the public sees it, ${stage.shopUrl}`, textOf(evidence.page)),
    ...section('Change packets, in short', short(packets)),
    ...inFull(evidence).flatMap((id) => {
      const packet = evidence.packets.get(id);
      return packet
        ? section(`Change packet of ${id}, in full`, printPacket(packet).trimEnd().split('\n'))
        : [];
    }),
    ...section(
      'Checked',
      findings.map(({ held, text }) => `${held ? 'ok  ' : 'NO  '}${clean(text)}`),
    ),
    '',
    ...address(stage, keep),
    failures.length === 0
      ? `Everything held. ${packets.length} tasks in ${took}.`
      : `${failures.length} of ${findings.length} checks did not hold${keep ? '' : '; --keep leaves everything up to look round'}.`,
  ];
  return lines.join('\n');
}

const section = (title: string, lines: string[]): string[] => [
  '',
  title,
  ...lines.map((line) => `  ${line}`.trimEnd()),
];

/** Rows without a header, in columns. */
const cells = (rows: string[][]): string[] =>
  table(
    rows[0] ?? [],
    rows.slice(1).map((row) => row.map(clean)),
    1_000,
  ).split('\n');

function landed(evidence: Evidence): string[] {
  const entries = evidence.ledger.filter((entry) => entry.kind === 'landed' && entry.task);
  const rows = entries.map(({ task = '', to, behind = 0, title = '' }) => [
    shortName(task),
    to.slice(0, 12),
    String(behind).padStart(6),
    title,
  ]);
  return table(['TASK', 'COMMIT', 'BEHIND', 'TITLE'], rows, 1_000).split('\n');
}

const reportOf = (packet: Packet): string => packet.attempts.at(-1)?.report?.trim().split('\n')[0] ?? '';

/** The two most telling packets: of the cart's tasks the one that was held, and of the task that was cancelled. */
const inFull = ({ packets }: Evidence): string[] => [
  ['cart-totals', 'cart-coupons'].find((id) =>
    packets.get(id)?.decisions.some(({ code }) => code === 'PATH_HELD'),
  ) ?? 'cart-coupons',
  'wishlist',
];

/** As people wrote them down: upstream tasks stand before those that wait for them. */
const inPlanOrder = ({ submitted, packets }: Evidence): Packet[] =>
  submitted.flatMap((task) => packets.get(shortName(task)) ?? []);

function short(packets: Packet[]): string[] {
  const rows = packets.map((packet) => {
    const { task, outcome, attempts, decisions, beside } = packet;
    const changes = attempts.at(-1)?.changes ?? [];
    const waits = new Set(
      decisions
        .filter(({ verdict }) => verdict === 'hold')
        .flatMap(({ evidence }) => evidence.holder ?? evidence.upstream ?? []),
    );
    const waited = [...waits].map(shortName).join(', ') || '-';
    return [
      shortName(task),
      outcome.kind,
      ranFor(packet),
      waited,
      String(beside.length).padStart(6),
      changes.join(', '),
    ];
  });
  return table(['TASK', 'OUTCOME', 'RAN', 'WAITED FOR', 'BESIDE', 'CHANGED'], rows, 1_000).split('\n');
}

function ranFor({ attempts }: Packet): string {
  const ms = attempts.reduce(
    (sum, { started, ended }) => sum + Date.parse(ended ?? started) - Date.parse(started),
    0,
  );
  return attempts.length === 0 ? 'never' : `${(ms / 1_000).toFixed(1)} s`;
}

function textOf(page: string): string[] {
  const lines = page
    .replace(/<title>.*<\/title>/, '')
    .replace(/<[^>]*>/g, '')
    .split('\n');
  return lines.map((line) => clean(line.trim())).filter(Boolean);
}

function address(stage: Stage, keep: boolean): string[] {
  const url = webUi(stage);
  if (!url)
    return [
      `Every task is a workflow on the Temporal server at ${stage.temporal.address}, ids ${stage.fleet.config.fleet}/task/…`,
    ];
  return [
    `Temporal Web UI: ${url}${keep ? '' : '  (it ends with this demo; `npm run demo -- --keep` leaves it up)'}`,
  ];
}

/** What there is to look at while everything stays up. */
export function lookRound(stage: Stage, cli: string): string {
  const { dir, fleet, shopUrl, origin } = stage;
  const url = webUi(stage);
  const command = (text: string) => `  ${cli} ${text} --config ${fleet.file}`;
  return [
    '',
    'Everything stays up until Ctrl-C:',
    ...(url ? [`  Web UI    ${url}`] : []),
    `  the page  ${shopUrl}`,
    `  fleet     ${fleet.file}`,
    `  origin    ${origin}`,
    `  logs      ${fleet.home}/worker.log, ${fleet.home}/logs`,
    'Try in another terminal, from this folder:',
    command('status'),
    command('why demo/cart-coupons'),
    command('packet demo/banner'),
    command('log demo/detector'),
    command(`issue ${ISSUE} --state open`),
    command('retry demo/wishlist'),
    `All of it is in ${dir}, which Ctrl-C removes.`,
  ].join('\n');
}

export function asJson({ stage, evidence, findings, took }: Ending) {
  const { packets, ledger, tip, page, submitted } = evidence;
  return {
    ok: findings.every(({ held }) => held),
    took,
    findings,
    tasks: submitted.map((task) => {
      const { outcome } = packets.get(shortName(task)) ?? {};
      const behind = landingOf(evidence, task)?.behind;
      return { task, ...(outcome ? { outcome } : {}), ...(behind === undefined ? {} : { behind }) };
    }),
    page: { url: stage.shopUrl, tip, html: page },
    ...(webUi(stage) ? { webUi: webUi(stage) } : {}),
    packets: inPlanOrder(evidence),
    ledger,
  };
}
