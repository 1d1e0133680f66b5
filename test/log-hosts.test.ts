// Logs of other hosts, on a real server: two workers with folders of their own are two hosts, and who reads stands in a
// third folder that has no files.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect, onTestFinished, test } from 'vitest';
import { hostIdOf } from '../src/client/host-id.js';
import { logsIn } from '../src/client/logs.js';
import { decoded } from '../src/client/payload.js';
import { logReaderId, QUERY, taskWorkflowId } from '../src/domain/ids.js';
import { type Beat, LOG_START } from '../src/domain/log-reading.js';
import { MAIN, replayedFleets, type TestFleet } from './support/fleet.js';

const start = replayedFleets(2);
const SECRET = 'swordfish-9817';

/** Lines with numbers, so that one that is missing, doubled or out of order shows. */
const lines = (name: string, from: number, to: number): string => {
  const text: string[] = [];
  for (let i = from; i < to; i++) text.push(`${name} ${i} ${'x'.repeat(80)}\n`);
  return text.join('');
};

/** Prints such lines, in bursts. */
const PRINTER = `
const [name, count, pause] = process.argv.slice(2);
let i = 0;
const burst = () => {
  let text = '';
  for (const end = Math.min(Number(count), i + 4000); i < end; i++) text += name + ' ' + i + ' ' + 'x'.repeat(80) + '\\n';
  process.stdout.write(text, () => { if (i < Number(count)) setTimeout(burst, Number(pause)); });
};
burst();
`;

interface Reader {
  out: () => string;
  err: () => string;
  code: Promise<number | null>;
  process: ChildProcess;
}

class Hosts {
  private constructor(readonly fleet: TestFleet) {}

  static async start(config: object = {}): Promise<Hosts> {
    const env = { secrets: { password: { env: 'TEST_PASSWORD' } }, ...config };
    const agents = {
      sh: { command: ['sh', '-c', 'exec sh "$SIGNALBOX_PROMPT_FILE"'], secrets: ['password'] },
    };
    const fleet = await start({ config: env, agents }, false);
    writeFileSync(join(fleet.dir, 'printer.cjs'), PRINTER);
    return new Hosts(fleet);
  }

  home(host: string): string {
    return join(this.fleet.dir, `home-${host}`);
  }

  worker(host: string): Promise<ChildProcess> {
    const env = { SIGNALBOX_HOME: this.home(host), TEST_PASSWORD: SECRET };
    return this.fleet.startWorker([], this.fleet.address, env);
  }

  /** `node printer` in an agent's script. */
  print(name: string, count: number, pause = 0): string {
    return `'${process.execPath}' '${join(this.fleet.dir, 'printer.cjs')}' ${name} ${count} ${pause}`;
  }

  /** Waits in an agent's script for a file of the fleet's folder. */
  waitFor(file: string): string {
    return `until [ -e '${join(this.fleet.dir, file)}' ]; do sleep 0.05; done`;
  }

  touch(file: string): void {
    writeFileSync(join(this.fleet.dir, file), '');
  }

  private get elsewhere() {
    const env = { ...this.fleet.env, SIGNALBOX_HOME: this.home('nowhere') };
    return { cwd: this.fleet.dir, env };
  }

  /** `signalbox log …` on a third host. */
  follow(...args: string[]): Reader {
    const child = spawn(process.execPath, [MAIN, 'log', ...args], this.elsewhere);
    onTestFinished(() => void child.kill('SIGKILL'));
    const said = { out: [] as Buffer[], err: [] as Buffer[] };
    child.stdout.on('data', (chunk: Buffer) => said.out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => said.err.push(chunk));
    return {
      out: () => Buffer.concat(said.out).toString(),
      err: () => Buffer.concat(said.err).toString(),
      code: new Promise((resolve) => child.once('close', resolve)),
      process: child,
    };
  }

  log(...args: string[]): Promise<{ code: number; out: string; err: string }> {
    return new Promise((resolve) =>
      execFile(
        process.execPath,
        [MAIN, 'log', ...args],
        { ...this.elsewhere, maxBuffer: 256 * 1024 * 1024 },
        (error, out, err) => resolve({ code: error ? Number(error.code) : 0, out, err }),
      ),
    );
  }

  async beat(task: string): Promise<Beat | undefined> {
    const handle = this.fleet.signalbox.client.workflow.getHandle(taskWorkflowId(this.fleet.name, task));
    const { raw } = await handle.describe();
    return decoded<Beat>(raw.pendingActivities?.[0]?.heartbeatDetails?.payloads?.[0]);
  }

  /** All that the histories of the fleet hold, payloads unpacked. */
  async histories(): Promise<string> {
    const { client } = this.fleet.signalbox;
    const texts: string[] = [];
    const collect = (value: unknown): void => {
      if (value instanceof Uint8Array) {
        const bytes = Buffer.from(value);
        texts.push((bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes).toString());
      } else if (typeof value === 'string') texts.push(value);
      else if (value && typeof value === 'object') for (const one of Object.values(value)) collect(one);
    };
    for await (const { workflowId, runId } of client.workflow.list({
      query: `WorkflowId STARTS_WITH "${this.fleet.name}/"`,
    }))
      collect(await client.workflow.getHandle(workflowId, runId).fetchHistory());
    return texts.join('\n');
  }
}

test('who follows from afar sees all of it, from one host and then the next, and histories hold none of it', async () => {
  const hosts = await Hosts.start();
  const { fleet } = hosts;
  const first = await hosts.worker('a');
  const prompt = `
if [ "$SIGNALBOX_ATTEMPT" = 1 ]; then
  printf 'canary-%s\\n' 4711; ${hosts.print('one', 200_000, 100)}
  printf '\\033]0;owned\\007the word is \\033[31m%s\\033[m\\rthe word is still %s\\n' "$password" "$password"
  ${hosts.waitFor('never')}
fi
printf 'canary-%s\\n' 4712; ${hosts.print('two', 1_000)}; ${hosts.waitFor('end')}; echo the end`;
  const [task = ''] = await fleet.submit('p', [{ id: 't', prompt, env: {} }]);
  const reader = hosts.follow(task, '-f');
  const began = Date.now();
  const saw = (text: string, ms = 240_000) =>
    fleet.until(`"${text}" to be seen; ${reader.err()}`, () => reader.out().slice(-2_000).includes(text), ms);
  await saw('the word is still [redacted]');
  const seconds = (Date.now() - began) / 1_000;
  const printed = `canary-4711\n${lines('one', 0, 200_000)}`;
  expect(reader.out().startsWith(printed)).toBe(true);
  expect(reader.out()).not.toContain(SECRET);
  // Far below what it does, for machines that are busy; it would be a trickle if an answer were waited for in each look.
  expect(printed.length / seconds, 'bytes a second').toBeGreaterThan(250_000);

  const [a, b] = [await hostIdOf(hosts.home('a')), await hostIdOf(hosts.home('b'))];
  const beat = await fleet.until('the tail', async () => {
    const found = await hosts.beat(task);
    return found?.tail?.includes('redacted') && found;
  });
  expect(beat).toMatchObject({ host: a, attempt: 1 });
  expect(beat.tail).toMatch(/^(one \d+ x+\n)*one 199999 x+\nthe word is still \[redacted\]$/);
  expect(Buffer.byteLength(beat.tail ?? '')).toBeLessThanOrEqual(1_000);

  await fleet.kill(first, 'SIGTERM');
  await hosts.worker('b');
  await saw('two 999 ');
  expect(JSON.parse((await hosts.log(task, '--json')).out)).toEqual({
    task,
    files: [],
    attempts: [
      { attempt: 1, fence: expect.anything(), host: a },
      { attempt: 2, fence: expect.anything(), host: b },
    ],
  });
  hosts.touch('end');
  expect(await reader.code, reader.err()).toBe(0);
  expect(reader.out().endsWith(`canary-4712\n${lines('two', 0, 1_000)}the end\n`)).toBe(true);
  expect(await hosts.log(task)).toMatchObject({
    code: 0,
    out: `canary-4712\n${lines('two', 0, 1_000)}the end\n`,
  });

  const gone = await hosts.log(task, '--attempt', '1');
  expect(gone).toMatchObject({ code: 4, out: '' });
  expect(gone.err).toMatch(
    new RegExp(
      `^signalbox: host ${a}, which has the output of attempt 1 of ${task}, does not answer: it was last heard of at \\d{4}-\\S+Z, \\d+[ms].* ago\n$`,
    ),
  );
  await hosts.worker('a');
  const back = await hosts.log(task, '--attempt', '1');
  expect(back.code, back.err).toBe(0);
  expect(back.out.startsWith(printed)).toBe(true);

  const [packet] = await fleet.packets(task);
  expect(packet?.attempts.map(({ host }) => host)).toEqual([a, b]);
  const details = await fleet.signalbox.client.workflow
    .getHandle(taskWorkflowId(fleet.name, task))
    .query<{ currentDetails: string }>('__temporal_workflow_metadata');
  expect(details.currentDetails).toContain('The last lines of attempt 2:\n\n```text\n');
  expect(details.currentDetails).toMatch(/two 999 x+\nthe end\n```$/);
  const histories = await hosts.histories();
  expect(histories).toContain(task);
  for (const text of ['canary-4711', 'canary-4712', 'one 1000 ', SECRET])
    expect(histories).not.toContain(text);
}, 600_000);

test('a worker that is killed and comes again goes on telling, and what it had is not lost', async () => {
  const hosts = await Hosts.start({ retry: { attempts: 3, backoff: '200ms' } });
  const { fleet } = hosts;
  const first = await hosts.worker('a');
  const prompt = `
if [ "$SIGNALBOX_ATTEMPT" = 1 ]; then ${hosts.print('one', 3_000)}; touch '${join(fleet.dir, 'printed')}'; ${hosts.waitFor('never')}; fi
${hosts.print('two', 3_000)}; ${hosts.waitFor('end')}`;
  const [task = ''] = await fleet.submit('p', [{ id: 't', prompt }]);
  await fleet.until('the output', () => existsSync(join(fleet.dir, 'printed')));
  await fleet.until('a sign of life', () => hosts.beat(task));
  // What a worker has not read from the pipe yet dies with it.
  await fleet.until('all of it to be kept', async () => (await hosts.log(task)).out.includes('one 2999 '));
  await fleet.kill(first, 'SIGKILL');
  const reader = hosts.follow(task, '-f');
  await fleet.until('the silence to be told', () => reader.err().includes('does not answer'));
  await hosts.worker('a');
  await fleet.until('the second attempt', () => reader.out().includes('two 2999 '), 120_000);
  hosts.touch('end');
  expect(await reader.code, reader.err()).toBe(0);
  expect(reader.out().endsWith(lines('two', 0, 3_000))).toBe(true);
  expect((await hosts.log(task, '--attempt', '1')).out).toBe(lines('one', 0, 3_000));
  const [packet] = await fleet.packets(task);
  const a = await hostIdOf(hosts.home('a'));
  expect(packet?.attempts.map(({ host }) => host)).toEqual([a, a]);
}, 600_000);

test('what names no log of a task is answered with nothing', async () => {
  const hosts = await Hosts.start();
  const { fleet } = hosts;
  await hosts.worker('a');
  const [task = ''] = await fleet.submit('p', [{ id: 't', prompt: 'echo hello' }]);
  await fleet.signalbox.wait([task]);
  const plain = await hosts.log(task);
  expect(plain, plain.err).toMatchObject({ code: 0, out: 'hello\n' });
  const home = hosts.home('a');
  const [log] = await logsIn(home, task);
  const name = log?.log ?? '';
  const secret = 'top secret';
  mkdirSync(join(fleet.dir, 'outside'), { recursive: true });
  writeFileSync(join(fleet.dir, 'outside', `${name}.log`), secret);
  mkdirSync(join(home, 'logs', 'p'), { recursive: true });
  symlinkSync(join(fleet.dir, 'outside'), join(home, 'logs', 'p', 'linked'));
  const reader = fleet.signalbox.client.workflow.getHandle(logReaderId(fleet.name, await hostIdOf(home)));
  const ask = (query: string, ...args: unknown[]) =>
    reader.query<unknown, unknown[]>(query, ...args).then(
      (answer) => JSON.stringify(answer),
      (error: unknown) => String(error),
    );
  const good = { task, log: name, from: LOG_START };
  expect(await ask(QUERY.log, good)).toContain(Buffer.from('hello\n').toString('base64'));
  for (const forged of [
    { ...good, task: 'p/linked' },
    { ...good, task: '../outside' },
    { ...good, task: '../../outside/x' },
    { ...good, task: 'p/../../../outside' },
    { ...good, task: `${fleet.dir}/outside` },
    { ...good, log: `../../../../outside/${name}` },
    { ...good, log: `${name}.log` },
    { ...good, from: { segment: -1, at: 0 } },
    { ...good, from: { segment: 0, at: '0' } },
    { ...good, path: join(fleet.dir, 'outside', `${name}.log`) },
    {},
    'logs',
    undefined,
  ]) {
    const answer = await ask(QUERY.log, forged);
    expect(answer, JSON.stringify(forged)).not.toContain(Buffer.from(secret).toString('base64'));
    expect(answer, JSON.stringify(forged)).toMatch(/what was asked for is no task|"found":false/);
  }
  expect(await ask('state')).toMatch(/there is no query/);
  expect(await ask(QUERY.log, { ...good, from: { segment: 7, at: 1e12 } })).toMatch(/"more":false/);
  expect(readFileSync(join(fleet.dir, 'outside', `${name}.log`), 'utf8')).toBe(secret);
}, 120_000);
