// What the agent of a taker is told of the work that it goes on with: whose it is, which commit, and what that task's own
// agent said of it. The report is in the change packet, redacted like all of it, and that is written while the taker begins.

import type { TakenOver } from '../src/domain/messages.js';
import { clean, type Packet } from '../src/domain/packet.js';

const PATIENCE_MS = 30_000;
const LOOK_MS = 250;

/** `newest` gives a task's last packet. Whatever keeps the packet from being read keeps no agent from its work. */
export const handOffNotes =
  (newest: (task: string) => Promise<Packet | undefined>, patienceMs = PATIENCE_MS) =>
  async (handed: TakenOver, start: string, signal: AbortSignal): Promise<string> => {
    const until = performance.now() + patienceMs;
    let packet: Packet | undefined;
    for (;;) {
      const found = await newest(handed.task);
      if (found?.outcome.commit === handed.commit) packet = found;
      if (packet || signal.aborted || performance.now() > until) break;
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    return noteOf(handed, start, packet);
  };

function noteOf({ task, commit }: TakenOver, start: string, packet: Packet | undefined): string {
  const report = packet?.attempts.findLast((attempt) => attempt.report !== undefined)?.report;
  const said = packet
    ? (report?.trimEnd() ?? 'It left no report.')
    : `Its change packet was not there yet: \`signalbox packet ${task}\`.`;
  return [
    `# Taken over from ${task}${packet?.title ? `: ${clean(packet.title)}` : ''}`,
    '',
    `Commit ${commit}${start === commit ? '' : `, on the newest branch ${start}`}, is what this clone starts with.`,
    'It has not landed: it does so with what you make of it.',
    '',
    '## Its report',
    '',
    said,
    '',
  ].join('\n');
}
