// What an agent's output may be: how long there may be none, and how much of it there may be in all. Whoever runs the
// agent ends it when the signal aborts, and finds here why.

import { formatDuration } from '../src/domain/durations.js';
import type { FailureCode } from '../src/domain/messages.js';
import { formatSize } from '../src/domain/sizes.js';

export interface OutputLimits {
  /** Milliseconds without output. */
  silence?: number | undefined;
  /** Bytes in all. */
  output?: number | undefined;
}

export class OutputWatch {
  /** Why the signal aborted. */
  broken: { code: Extract<FailureCode, 'AGENT_SILENT' | 'OUTPUT_EXCEEDED'>; text: string } | undefined;
  private readonly stopping = new AbortController();
  readonly signal = this.stopping.signal;
  private timer: NodeJS.Timeout | undefined;
  private bytes = 0;
  /** By performance.now(). */
  private last = 0;

  constructor(private readonly limits: OutputLimits) {}

  /** The silence counts from here. */
  start(): void {
    this.last = performance.now();
    if (this.limits.silence !== undefined) this.wait(this.limits.silence);
  }

  /** So many bytes were printed. */
  saw(bytes: number): void {
    this.last = performance.now();
    this.bytes += bytes;
    const { output } = this.limits;
    if (output !== undefined && this.bytes > output)
      this.end('OUTPUT_EXCEEDED', `more than ${formatSize(output)}`);
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  /** One timer for a whole silence, not one for each chunk. */
  private wait(ms: number): void {
    this.timer = setTimeout(() => this.look(), ms);
  }

  private look(): void {
    const { silence = 0 } = this.limits;
    const left = silence - (performance.now() - this.last);
    if (left > 0) this.wait(Math.ceil(left));
    else this.end('AGENT_SILENT', `no output for ${formatDuration(silence)}`);
  }

  private end(code: NonNullable<OutputWatch['broken']>['code'], text: string): void {
    this.stop();
    this.broken ??= { code, text };
    this.stopping.abort();
  }
}
