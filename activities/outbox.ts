// What one worker has to tell the coordinator: at once when it is idle, in batches under load. Who asks waits for the
// coordinator's answer; where the coordinator's deliveries leave from the same process it is handed over right here,
// which spares the task a signal and a workflow task. Everywhere else, and whenever it is late, it comes as a signal.

import { signalCoordinator } from '../src/client/starts.js';
import { SIGNAL } from '../src/domain/ids.js';
import type { Message, Standing, TaskReport } from '../src/domain/messages.js';
import { LEAST_GAP } from '../src/domain/pace.js';
import type { Host } from './host.js';

/** Bytes of JSON in one signal: a payload warns at 512 KB and fails at 2 MB. */
const MOST_BYTES = 256 * 1024;
/** A connection that died unnoticed must not hold back what comes after it. */
const CALL_MS = 10_000;

interface Queued {
  message: Message;
  done: () => void;
  failed: (error: unknown) => void;
}

interface Asking {
  life: string;
  answer: (standing: Standing | undefined) => void;
}

/** What this worker has to tell the coordinator, which is started by the first word if it does not run. */
export class Outbox {
  private queue: Queued[] = [];
  private sending = false;
  private readonly asking = new Map<string, Asking>();
  /** Whether the coordinator's deliveries seem to leave from this process. */
  private near = true;
  private gap = LEAST_GAP;

  constructor(private readonly host: Pick<Host, 'client' | 'config'>) {}

  /** Resolves when the server has accepted the message. */
  tell(message: Message): Promise<void> {
    return new Promise((done, failed) => {
      this.queue.push({ message, done, failed });
      void this.send();
    });
  }

  /**
   * Resolves with the answer, or without one when that takes longer than `patience` milliseconds and will come as a
   * signal. Rejects when the report was not accepted.
   */
  async ask(report: TaskReport, patience: number): Promise<Standing | undefined> {
    if (!this.near) {
      await this.tell(report);
      return undefined;
    }
    return await this.answerTo(report, patience, {
      asked: () => this.tell({ ...report, asks: true }),
      late: () => {
        this.near = false;
      },
    });
  }

  /** What the coordinator says next to who has asked; undefined when that takes longer than `patience` milliseconds. */
  next(report: TaskReport, patience: number): Promise<Standing | undefined> {
    return this.answerTo(report, patience, {});
  }

  private async answerTo(
    { id, life }: TaskReport,
    patience: number,
    { asked, late }: { asked?: () => Promise<void>; late?: () => void },
  ): Promise<Standing | undefined> {
    this.asking.get(id)?.answer(undefined);
    const answered = new Promise<Standing | undefined>((answer) => this.asking.set(id, { life, answer }));
    const asking = this.asking.get(id);
    let timer: NodeJS.Timeout | undefined;
    try {
      await asked?.();
      timer = setTimeout(() => {
        late?.();
        asking?.answer(undefined);
      }, patience);
      return await answered;
    } finally {
      clearTimeout(timer);
      if (this.asking.get(id) === asking) this.asking.delete(id);
    }
  }

  /** Hands a standing to who asked for it; false when nobody here did. */
  answer(task: string, standing: Standing): boolean {
    const asking = this.asking.get(task);
    if (asking?.life !== standing.life) return false;
    this.asking.delete(task);
    asking.answer(standing);
    return true;
  }

  /** The coordinator's deliveries leave from here. */
  serves(): void {
    this.near = true;
  }

  /** The coordinator wants so many milliseconds between two signals under load. */
  pause(gap: number): void {
    this.gap = gap;
  }

  private async send(): Promise<void> {
    if (this.sending) return;
    this.sending = true;
    while (this.queue.length > 0) {
      const batch = this.take();
      try {
        await this.signal(batch.map(({ message }) => message));
        for (const { done } of batch) done();
      } catch (error) {
        for (const { failed } of batch) failed(error);
      }
      if (this.queue.length > 1) await new Promise((resolve) => setTimeout(resolve, this.gap));
    }
    this.sending = false;
  }

  private take(): Queued[] {
    let bytes = 0;
    let count = 0;
    for (const { message } of this.queue) {
      bytes += JSON.stringify(message).length;
      if (count > 0 && bytes > MOST_BYTES) break;
      count += 1;
    }
    return this.queue.splice(0, count);
  }

  private async signal(messages: Message[]): Promise<void> {
    const { client, config } = this.host;
    await client.withDeadline(Date.now() + CALL_MS, () =>
      signalCoordinator(client, config, SIGNAL.tell, [messages]),
    );
  }
}
