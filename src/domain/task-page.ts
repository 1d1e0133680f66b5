// What the Web UI shows of a task: its state as one word, and a page in Markdown.

import { shownTail } from './log-reading.js';
import type { Standing, TaskFacts, TaskReport } from './messages.js';
import type { AttemptRecord } from './packet.js';
import { explain } from './reasons.js';
import { useText } from './resources.js';

type Told = Pick<TaskReport, 'attempt' | 'at' | 'result'>;

const MOST_CLAIMS = 1_000;

export function stateOf(standing: Standing | undefined, report: Told): string {
  if (standing?.outcome) return standing.outcome.kind;
  if (standing?.phase === 'stopping') return 'stopping';
  if (report.at === 'running') return 'running';
  if (report.at === 'stopped' && report.result?.kind === 'commits') return 'landing';
  return 'held';
}

export interface ShownTask {
  id: string;
  facts: TaskFacts;
  report: Told;
  standing?: Standing | undefined;
  /** The last attempt that is over. */
  last?: Pick<AttemptRecord, 'attempt' | 'tail'> | undefined;
}

/** Bytes of an attempt's last lines. */
const TAIL_BYTES = 1_000;

export function taskPage({ id, facts, report, standing, last }: ShownTask): string {
  const state = stateOf(standing, report);
  const reason = standing?.decision.code ?? 'SUBMITTED';
  const why = standing
    ? explain(standing.decision.code, standing.decision.evidence)
    : 'announced to the coordinator';
  const holder = standing?.decision.evidence.holder;
  const claims = facts.writes.map((path) => `\`${path}\``).join(', ');
  const rows: [string, string | undefined][] = [
    ['State', `**${state}**, attempt ${report.attempt}`],
    ['Why', `${why} \`${reason}\``],
    ['Holder', state === 'held' && holder ? `**${holder}**` : undefined],
    ['Role', facts.role ?? 'none: read-only'],
    ['Claims', claims.slice(0, MOST_CLAIMS) || undefined],
    ['Uses', facts.uses?.map((use) => `\`${useText(use)}\``).join(', ')],
    ['After', facts.after.map((edge) => edge.task).join(', ') || undefined],
    ['Takes over', facts.takesOver],
    ['Issue', facts.issue],
    ['Commit', standing?.outcome?.commit],
  ];
  const shown = rows
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `| ${name} | ${value?.replaceAll('|', '\\|')} |`);
  const title = `### ${id}${facts.title ? `: ${facts.title}` : ''}`;
  return [title, '', '| | |', '|---|---|', ...shown, ...tailLines(last)].join('\n');
}

/** Shown as it is: what is in it begins no Markdown. */
function tailLines(last: ShownTask['last']): string[] {
  const tail = shownTail(last?.tail ?? '', TAIL_BYTES);
  if (!last || tail === '') return [];
  const longest = Math.max(2, ...[...tail.matchAll(/`+/g)].map(([ticks]) => ticks.length));
  const fence = '`'.repeat(longest + 1);
  return ['', `The last lines of attempt ${last.attempt}:`, '', `${fence}text`, tail, fence];
}
