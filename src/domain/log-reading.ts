// How a host is asked for the output of an attempt, and what of it the Web UI shows: pieces of bounded size, named by
// attempt and place, never by a path.

import { z } from 'zod';
import type { Fence } from './fence.js';
import { fenceText } from './fence.js';
import { TASK_NAME } from './ids.js';

/** The name of an attempt's log in the folder of its task. */
export const logName = (attempt: number, fence: Fence): string =>
  `${String(attempt).padStart(3, '0')}-${fenceText(fence)}`;

/** How far a log was read: bytes of a segment, of which 0 is the first. */
export const LogPlace = z.strictObject({ segment: z.int().min(0), at: z.int().min(0) });
export type LogPlace = z.infer<typeof LogPlace>;

export const LOG_START: LogPlace = { segment: 0, at: 0 };

/** Nothing in it can name a file outside of the task's own folder. */
export const LogRequest = z.strictObject({
  task: z.string().regex(TASK_NAME).includes('/'),
  log: z.string().regex(/^\d{3,9}-\d{1,15}\.\d{1,15}$/),
  from: LogPlace,
});
export type LogRequest = z.infer<typeof LogRequest>;

export interface LogAnswer {
  /** Whether the host has anything of this log. */
  found: boolean;
  /** Base64. */
  data: string;
  next: LogPlace;
  /** There is more already. */
  more: boolean;
  /** It is still being written. */
  live: boolean;
}

/** What a running attempt says with each heartbeat; the Web UI shows it. */
export interface Beat {
  /** The host's id. */
  host: string;
  attempt: number;
  fence: Fence;
  /** The last lines of its output. */
  tail?: string;
}

/** Escape sequences: of colours and other controls, and those that carry a text, up to their end. */
const SEQUENCES =
  /[\u001b\u009b\u009d\u0090](?:[\]P^_X][^\u0007\u001b\u009c]*(?:\u0007|\u001b\\|\u009c)?|\[?[0-?]*[ -/]*[@-~])?/g;
/** Control characters, what turns the direction of the text, and what was cut in two. */
const FORBIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffd]/g;

/** The last lines of an output as plain text, at most `bytes` long in UTF-8; whole lines, unless the last one is too long itself. */
export function shownTail(output: string, bytes: number): string {
  const lines = output
    .replace(SEQUENCES, '')
    .split('\n')
    // What a progress bar has overwritten is gone.
    .map((line) => lastPrinted(line.replace(/\r+$/, '')).replace(FORBIDDEN, '').trimEnd());
  while (lines.at(-1) === '') lines.pop();
  const shown: string[] = [];
  let room = bytes;
  for (const line of lines.reverse()) {
    const size = utf8Length(line) + (shown.length > 0 ? 1 : 0);
    if (size > room) {
      if (shown.length === 0) shown.push(endOf(line, bytes));
      break;
    }
    shown.push(line);
    room -= size;
  }
  return shown.reverse().join('\n');
}

const lastPrinted = (line: string): string => line.slice(line.lastIndexOf('\r') + 1);

const utf8Length = (text: string): number =>
  [...text].reduce((sum, c) => {
    const code = c.codePointAt(0) ?? 0;
    return sum + (code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4);
  }, 0);

function endOf(line: string, bytes: number): string {
  const characters = [...line].slice(-bytes);
  while (utf8Length(characters.join('')) > bytes) characters.splice(0, Math.ceil(characters.length / 16));
  return characters.join('');
}
