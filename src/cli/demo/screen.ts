// What one sees while the demo runs: the live progress of all tasks, and now and then a remark on what happens outside.

import { setTimeout as sleep } from 'node:timers/promises';
import { formatDuration } from '../../domain/durations.js';
import { clean } from '../../domain/packet.js';
import type { Overview } from '../../domain/views.js';
import { liveProgress, type Progress } from '../progress.js';

export class Screen {
  private progress: Progress | undefined;
  private began = Date.now();
  private width = 0;
  private last: Overview | undefined;
  /** Lines of the table that stands on the terminal now. */
  private height = 0;

  /** With `quiet` nothing is shown, neither progress nor remarks. */
  constructor(
    private readonly quiet: boolean,
    private readonly out: NodeJS.WriteStream = process.stdout,
  ) {}

  begin(ids: readonly string[]): void {
    this.began = Date.now();
    this.width = Math.max(...ids.map((id) => id.length));
    const names = ids.map((id) => id.padEnd(this.width));
    if (!this.quiet) this.progress = liveProgress(names, this.watched());
  }

  show(overview: Overview): void {
    // In columns also where progress is plain lines.
    const tasks = overview.tasks.map((line) => ({ ...line, id: line.id.padEnd(this.width) }));
    this.last = { ...overview, tasks };
    this.progress?.show(this.last);
  }

  /** A line of its own; on a terminal it scrolls away above the table. */
  remark(text: string): void {
    if (this.quiet) return;
    if (!this.progress) return void this.out.write(`${clean(text)}\n`);
    const line = `${((Date.now() - this.began) / 1_000).toFixed(1).padStart(6)}s  >>> ${clean(text)}\n`;
    if (!this.out.isTTY) return void this.out.write(line);
    this.out.write(`${this.height > 0 ? `\u001b[${this.height}A\u001b[J` : ''}${line}`);
    this.progress.end();
    if (this.last) this.progress.show(this.last);
  }

  end(): void {
    this.progress?.end();
    this.progress = undefined;
  }

  get took(): string {
    return formatDuration(Date.now() - this.began);
  }

  /** The terminal as the progress sees it: how high its table is, it does not tell. */
  private watched(): NodeJS.WriteStream {
    const { out } = this;
    const write = (text: string) => {
      this.height = text.split('\n').length - 1;
      return out.write(text);
    };
    return Object.create(out, { write: { value: write } }) as NodeJS.WriteStream;
  }
}

/** Pauses, so that people can see what is there before it changes. Ends early when the signal aborts. */
export const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { signal }).catch(() => undefined);
