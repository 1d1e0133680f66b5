// Live progress: on a terminal a table that updates in place, elsewhere a plain line whenever a task's state changes.

import { formatDuration } from '../domain/durations.js';
import { clean } from '../domain/packet.js';
import type { Overview, TaskLine } from '../domain/views.js';
import { firstLine, table } from './table.js';

const ORDER = ['running', 'stopping', 'landing', 'backoff', 'held', 'ended'];

export interface Progress {
  show(overview: Overview): void;
  /** Leaves the last picture where it is. */
  end(): void;
}

/** `ids`: the tasks to show; all when left out. */
export function liveProgress(ids?: readonly string[], out: NodeJS.WriteStream = process.stdout): Progress {
  const wanted = ids && new Set(ids);
  const choose = (overview: Overview) => overview.tasks.filter((line) => !wanted || wanted.has(line.id));
  return out.isTTY ? tableProgress(choose, out) : lineProgress(choose, out);
}

/** What people call the state: an ended task's outcome, else its phase. */
export const stateOf = (line: TaskLine): string => line.outcome?.kind ?? line.phase;

function lineProgress(choose: (overview: Overview) => TaskLine[], out: NodeJS.WriteStream): Progress {
  const began = Date.now();
  const shown = new Map<string, string>();
  return {
    show(overview) {
      for (const line of choose(overview)) {
        const text = `${stateOf(line)}${line.attempt > 1 ? ` (attempt ${line.attempt})` : ''}: ${firstLine(line.why ?? '')}`;
        if (shown.get(line.id) === text) continue;
        shown.set(line.id, text);
        const since = line.phase === 'held' ? `, since ${formatDuration(line.forMs)}` : '';
        out.write(
          `${((Date.now() - began) / 1_000).toFixed(1).padStart(6)}s  ${clean(`${line.id}  ${text}${since}`)}\n`,
        );
      }
    },
    end() {},
  };
}

function tableProgress(choose: (overview: Overview) => TaskLine[], out: NodeJS.WriteStream): Progress {
  let height = 0;
  return {
    show(overview) {
      const lines = choose(overview);
      const room = Math.max(5, (out.rows ?? 24) - 4);
      const sorted = [...lines].sort((a, b) => ORDER.indexOf(a.phase) - ORDER.indexOf(b.phase));
      const counts = ORDER.map(
        (phase) => [phase, lines.filter((line) => line.phase === phase).length] as const,
      );
      const summary = counts.flatMap(([phase, count]) => (count > 0 ? [`${count} ${phase}`] : [])).join(', ');
      const rows = sorted
        .slice(0, room)
        .map((line) => [line.id, stateOf(line), formatDuration(line.forMs), clean(line.why ?? '')]);
      const more = sorted.length > room ? [`… and ${sorted.length - room} more`] : [];
      const picture = [
        `${summary}; ${overview.running} of at most ${overview.ceiling} agents run`,
        table(['TASK', 'STATE', 'FOR', 'WHY'], rows, out.columns),
        ...more,
      ]
        .join('\n')
        .split('\n');
      const up = height > 0 ? `\u001b[${height}A` : '';
      out.write(`${up}\u001b[J${picture.join('\n')}\n`);
      height = picture.length;
    },
    end() {
      height = 0;
    },
  };
}
