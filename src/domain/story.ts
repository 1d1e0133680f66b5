// The story of a task in plain words: every decision about it, in order, with how long each wait took and what it ran
// beside.

import { formatDuration } from './durations.js';
import type { Decision } from './messages.js';
import { explain } from './reasons.js';

/** One line a decision, oldest first. `until`: when the last state ended, or now; in milliseconds since the epoch. */
export function tellStory(decisions: readonly Decision[], until?: number): string[] {
  return decisions.flatMap((decision, i) => {
    // A note changes nothing: what went on before it goes on.
    const next = decisions.slice(i + 1).find(({ verdict }) => verdict !== 'note')?.at ?? until;
    const wait =
      decision.verdict === 'hold' && next !== undefined ? ` (for ${formatDuration(next - decision.at)})` : '';
    const when = new Date(decision.at).toISOString().slice(0, 19).replace('T', ' ');
    const { code, evidence, seq } = decision;
    const line = `${when}  #${seq}  ${wordsFor(decision)}: ${explain(code, evidence)}${wait} [${code}]`;
    return [line, ...besideLines(decision)];
  });
}

function wordsFor({ verdict, attempt, evidence }: Decision): string {
  switch (verdict) {
    case 'run':
      return `attempt ${attempt} starts`;
    case 'hold':
      return 'waits';
    case 'land':
      return `attempt ${attempt} lands`;
    case 'retry':
      return evidence.duration === undefined
        ? `attempt ${attempt} is ended`
        : `attempt ${attempt} came to nothing, the next follows ${evidence.duration > 0 ? `in ${formatDuration(evidence.duration)}` : 'at once'}`;
    case 'cancel':
      return 'is cancelled';
    case 'end':
      return 'ends';
    case 'note':
      return 'note';
  }
}

function besideLines({ evidence }: Decision): string[] {
  const { beside, besideMore = 0 } = evidence;
  if (!beside) return [];
  const indent = ' '.repeat(21);
  if (beside.length === 0) return [`${indent}nothing ran beside it`];
  const more = besideMore > 0 ? [`${indent}and beside ${besideMore} more`] : [];
  return [...beside.map(({ task, why }) => `${indent}beside ${task}: safe, ${why}`), ...more];
}
