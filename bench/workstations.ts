// What the benchmarks of workstations start from: a sandbox of this host, a folder, a repository.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Mirror } from '../activities/mirror.js';
import { probeSandbox } from '../activities/sandbox/host.js';
import type { SandboxHost } from '../activities/sandbox/offer.js';
import type { StationRules } from '../activities/workstation/sandboxed.js';
import { git } from '../src/client/git.js';

/** With groups of limits, as a worker has them. Throws what is missing. */
export function sandboxHost(): SandboxHost {
  const probe = probeSandbox('bench');
  if ('missing' in probe) throw new Error(probe.missing);
  return probe.sandbox;
}

/** Room enough for what benchmarks and tests do. */
export const ROOMY_RULES: StationRules = {
  network: 'none',
  processes: 256,
  disk: 1 << 30,
  temporary: 1 << 26,
  sees: [],
  reachable: [],
  readOnly: false,
};

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'signalbox-bench-'));
  chmodSync(folder, 0o711);
  return folder;
}

/** A file that packs to about 1.3 KB. */
const BYTES = 1_760;

function* history(files: number): Generator<string> {
  yield 'commit refs/heads/main\ncommitter a <a@b> 1700000000 +0000\ndata 4\nseed\n';
  for (let i = 0; i < files; i++) {
    let text = '';
    for (let line = 0; text.length < BYTES; line++)
      text += `${createHash('sha256').update(`${i} ${line}`).digest('base64')}\n`;
    yield `M 100644 inline src/part${i % 200}/m${(i * 7) % 11}/file${i}.ts\ndata ${text.length}\n${text}\n`;
  }
}

/** Always the same repository, of one commit, and its mirror. */
export async function bigRepository(
  folder: string,
  files: number,
): Promise<{ mirror: Mirror; base: string }> {
  const origin = join(folder, 'origin.git');
  await git(folder, ['init', '--quiet', '--bare', '-b', 'main', origin]);
  const importer = spawn('git', ['-C', origin, 'fast-import', '--quiet'], {
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  const ended = new Promise<number | null>((done) => importer.once('close', done));
  await pipeline(Readable.from(history(files)), importer.stdin);
  if ((await ended) !== 0) throw new Error('git fast-import failed');
  await git(origin, ['repack', '-a', '-d', '-q']);
  const mirror = new Mirror('app', origin, 'main', join(folder, 'mirrors', 'app.git'));
  return { mirror, base: await mirror.refresh() };
}
