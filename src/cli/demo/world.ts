// The world outside the fleet, as the demo plays it: an issue is closed and a person pushes to main, each while an
// agent is at work on what it touches.

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Overview } from '../../domain/views.js';
import { pushLine } from './repository.js';
import { pause } from './screen.js';
import type { Stage } from './stage.js';

export const ISSUE = 'SHOP-7';
const PERSON = 'Kim';

export interface Deeds {
  issueClosed: boolean;
  /** The person's commit. */
  pushed?: string;
}

interface Cue {
  task: string;
  begun: boolean;
  deed: () => Promise<void>;
}

export class World {
  readonly deeds: Deeds = { issueClosed: false };
  private readonly cues: Cue[];
  private readonly going: Promise<void>[] = [];

  constructor(
    private readonly stage: Stage,
    plan: string,
    private readonly remark: (text: string) => void,
    private readonly signal: AbortSignal,
  ) {
    this.cues = [
      { task: `${plan}/wishlist`, begun: false, deed: () => this.closeIssue() },
      { task: `${plan}/banner`, begun: false, deed: () => this.push() },
    ];
  }

  /** Does what has its cue: the task runs, and its agent has said its first word, so it has begun from some main. */
  look(overview: Overview): void {
    for (const cue of this.cues) {
      if (cue.begun || !overview.tasks.some((line) => line.id === cue.task && line.phase === 'running'))
        continue;
      if (!hasSpoken(join(this.stage.fleet.home, 'logs', cue.task))) continue;
      cue.begun = true;
      const going = cue.deed();
      going.catch(() => undefined);
      this.going.push(going);
    }
  }

  /** Throws what went wrong outside. */
  async settled(): Promise<void> {
    await Promise.all(this.going);
  }

  private async closeIssue(): Promise<void> {
    await pause(1_200, this.signal);
    this.signal.throwIfAborted();
    this.remark(`outside: somebody closes issue ${ISSUE}, whose task is running`);
    await this.stage.signalbox.issue(ISSUE, 'closed');
    this.deeds.issueClosed = true;
  }

  private async push(): Promise<void> {
    const { origin, dir } = this.stage;
    const commit = await pushLine(origin, dir, PERSON, 'README.md', 'Questions? Ask Kim.');
    this.remark(`outside: ${PERSON} pushes ${commit.slice(0, 12)} to main, under the agent of banner`);
    this.deeds.pushed = commit;
  }
}

/** The agent's output has begun. */
function hasSpoken(folder: string): boolean {
  try {
    return readdirSync(folder).some((name) => statSync(join(folder, name)).size > 0);
  } catch {
    return false;
  }
}
