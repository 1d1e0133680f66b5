// The output of a process on its way to a file: bounded, and with the values of secrets taken out.

import { createWriteStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { Transform, type Writable } from 'node:stream';
import { finished } from 'node:stream/promises';

/** Bytes of output kept per attempt. */
const MOST_OUTPUT = 64 * 1024 * 1024;

/** Values shorter than this are too common to be taken out of everything. */
const SHORTEST_SECRET = 6;

export const redact = (text: string, secrets: readonly string[]): string =>
  secrets.reduce((rest, secret) => rest.replaceAll(secret, '[redacted]'), text);

/** The values of the named variables that count as secrets. */
export const secretsIn = (names: readonly string[]): string[] =>
  names.flatMap((name) => process.env[name] ?? []).filter((value) => value.length >= SHORTEST_SECRET);

export interface OutputFile {
  stream: Writable;
  /** Resolves when everything is on disk. */
  close(): Promise<void>;
}

export function outputFile(path: string, secrets: readonly string[]): OutputFile {
  const file = createWriteStream(path, { flags: 'a' });
  const stream = redactor(secrets);
  stream.pipe(file);
  return {
    stream,
    close: async () => {
      stream.end();
      await finished(file);
    },
  };
}

/** Passes output on, up to the bound; a secret split over two chunks is found as well. */
function redactor(secrets: readonly string[]): Transform {
  const longest = Math.max(0, ...secrets.map((secret) => secret.length - 1));
  let held = '';
  let passed = 0;
  const pass = (transform: Transform, text: string) => {
    if (passed >= MOST_OUTPUT) return;
    const room = text.slice(0, MOST_OUTPUT - passed);
    passed += room.length;
    transform.push(Buffer.from(room, 'latin1'));
    if (passed >= MOST_OUTPUT)
      transform.push(`\n[signalbox: output beyond ${MOST_OUTPUT} bytes is not kept]\n`);
  };
  const bytes = secrets.map((secret) => Buffer.from(secret).toString('latin1'));
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const text = redact(held + chunk.toString('latin1'), bytes);
      const keep = Math.max(0, text.length - longest);
      held = text.slice(keep);
      pass(this, text.slice(0, keep));
      done();
    },
    flush(done) {
      pass(this, redact(held, bytes));
      done();
    },
  });
}

/** The end of a file as text, at most `bytes` long; empty when there is none. */
export async function tailOf(path: string, bytes: number): Promise<string> {
  const handle = await open(path, 'r').catch(() => undefined);
  if (!handle) return '';
  try {
    const { size } = await handle.stat();
    const length = Math.min(size, bytes);
    const { buffer } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.toString('utf8');
  } finally {
    await handle.close();
  }
}
