// Secrets: what the configuration may say of them, how they are read, and that nothing of them is left in output.

import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { redactor } from '../activities/redactor.js';
import { formsOf } from '../activities/secret-forms.js';
import { grantSecrets, NoSecret, readSecrets, writeSecretFiles } from '../activities/secrets.js';
import { Config } from '../src/domain/config.js';

const dir = mkdtempSync(join(tmpdir(), 'signalbox-secrets-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const VALUE = 'hunter2/value+that=is long';

const parse = (more: { secrets?: unknown; agent?: object; role?: object }) =>
  Config.safeParse({
    fleet: 'f',
    repositories: { app: { url: 'nowhere' } },
    roles: { dev: { resources: ['branch:app'], ...more.role } },
    agents: { sh: { command: 'true', ...more.agent } },
    ...(more.secrets === undefined ? {} : { secrets: more.secrets }),
  });
const problem = (more: Parameters<typeof parse>[0]) => {
  const issue = parse(more).error?.issues[0];
  return issue && `${issue.path.join('.')}: ${issue.message}`;
};
const config = (secrets: Record<string, unknown>, uses: unknown[] = []) =>
  Config.parse({
    fleet: 'f',
    repositories: { app: { url: 'nowhere' } },
    agents: { sh: { command: 'true', secrets: uses } },
    secrets,
  });

describe('in the configuration', () => {
  const secrets = { KEY: { env: 'HOST_KEY' }, 'deploy-key': { file: 'key.pem' } };

  test('a secret has a source, and whoever gets it names it: in a variable or as a file', () => {
    const read = parse({
      secrets: { ...secrets, vault: { command: ['vault', 'read'] } },
      agent: {
        secrets: ['KEY', { secret: 'deploy-key', file: 'id_ed25519' }, { secret: 'vault', env: 'V' }],
      },
      role: { secrets: [{ secret: 'KEY', env: 'DEPLOY_KEY' }] },
    });
    expect(read.error).toBeUndefined();
    expect(read.data?.agents.sh?.secrets).toEqual([
      { secret: 'KEY', env: 'KEY' },
      { secret: 'deploy-key', file: 'id_ed25519' },
      { secret: 'vault', env: 'V' },
    ]);
  });

  test.each([
    [{ secrets: { a: {} } }, 'secrets.a: expected exactly one of env, file, command, found none'],
    [
      { secrets: { a: { env: 'A', file: 'b' } } },
      'secrets.a: expected exactly one of env, file, command, found env and file',
    ],
    [{ secrets, agent: { secrets: ['KAY'] } }, 'agents.sh.secrets.0: no secret is called "KAY"; there are:'],
    [{ agent: { secrets: ['KEY'] } }, 'agents.sh.secrets.0: no secret is called "KEY"; list it under'],
    [{ secrets, role: { secrets: ['KAY'] } }, 'roles.dev.secrets.0: no secret is called "KAY"'],
    [{ secrets, agent: { secrets: ['KEY', 'KEY'] } }, 'agents.sh.secrets.1: KEY is there twice'],
    [{ secrets, agent: { passEnv: ['KEY'], secrets: ['KEY'] } }, 'agents.sh.secrets.0: KEY is there twice'],
    [
      { secrets, agent: { secrets: [{ secret: 'KEY', env: 'SIGNALBOX_TASK' }] } },
      'agents.sh.secrets.0: SIGNALBOX_TASK is set by Signalbox',
    ],
  ])('%j is refused with its place', (more, message) => {
    expect(problem(more)).toContain(message);
  });

  test('neither both ways nor a path for a file name', () => {
    expect(parse({ secrets, agent: { secrets: [{ secret: 'KEY', env: 'A', file: 'b' }] } }).success).toBe(
      false,
    );
    expect(parse({ secrets, agent: { secrets: [{ secret: 'KEY', file: '../b' }] } }).success).toBe(false);
    expect(parse({ secrets, agent: { secrets: [{ secret: 'KEY', file: 'b', mode: 7 }] } }).success).toBe(
      false,
    );
  });
});

describe('reading', () => {
  test('takes a variable, a file and a command of the host, without the newline at the end', async () => {
    process.env.TEST_SECRET_VALUE = VALUE;
    const file = join(dir, 'value');
    writeFileSync(file, `first line\n${VALUE}\r\n`);
    const { secrets } = config({
      variable: { env: 'TEST_SECRET_VALUE' },
      file: { file },
      list: { command: ['printf', '%s\\n', '$HOME is no variable here'] },
      shell: { command: 'printf "%s\\n" "$TEST_SECRET_VALUE"; echo complaint >&2' },
      unused: { command: 'exit 1' },
    });
    expect(await readSecrets({ secrets }, ['variable', 'file', 'list', 'shell'])).toEqual(
      new Map([
        ['variable', VALUE],
        ['file', `first line\n${VALUE}`],
        ['list', '$HOME is no variable here'],
        ['shell', VALUE],
      ]),
    );
    delete process.env.TEST_SECRET_VALUE;
  });

  const short = join(dir, 'short');
  writeFileSync(short, 'abc\n');
  const binary = join(dir, 'binary');
  writeFileSync(binary, Buffer.from([0xff, 0xfe, 1, 2, 3, 4, 5, 6, 7]));
  test.each([
    ['a variable that is not set', { env: 'TEST_SECRET_MISSING' }, /variable TEST_SECRET_MISSING is not set/],
    ['a file that is not there', { file: join(dir, 'none') }, /file .*none cannot be read \(ENOENT\)/],
    ['a short value', { file: short }, /short.* fewer than 6 characters/],
    ['no text', { file: binary }, /binary gives bytes that are no text/],
    ['a command that fails', { command: 'echo leaked-value; echo leaked-error >&2; exit 3' }, /exit code 3/],
    ['a program that is not there', { command: ['/no/such/program', 'leaked'] }, /could not be started/],
    ['a command that prints nothing', { command: ['true'] }, /`true` is empty/],
    ['a command that prints without end', { command: 'yes leaked' }, /printed more than 65536 bytes/],
    ['a command that hangs', { command: 'echo leaked; sleep 1000' }, /took longer than 1s/],
  ])('%s is told by name and source, without output or value', async (_name, source, message) => {
    const refused = await readSecrets(config({ 'the-key': source }), ['the-key'], { timeout: 1_000 }).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(refused).toBeInstanceOf(NoSecret);
    expect((refused as NoSecret).message).toMatch(/^the secret "the-key" cannot be had: /);
    expect((refused as NoSecret).message).toMatch(message);
    expect((refused as NoSecret).message).not.toMatch(/leaked|abc/);
  });

  test('ends with the attempt that it is for', async () => {
    const begun = join(dir, 'begun');
    const stop = new AbortController();
    const command = `touch ${begun}; sleep 1000`;
    const reading = readSecrets(config({ slow: { command } }), ['slow'], { signal: stop.signal });
    reading.catch(() => undefined);
    await vi.waitFor(() => expect(existsSync(begun)).toBe(true), 10_000);
    stop.abort();
    await expect(reading).rejects.toThrow(/its command was ended by SIG/);
  });

  test('gives a process its variables, and files that only their owner reads', async () => {
    const file = join(dir, 'granted');
    writeFileSync(file, VALUE);
    process.env.TEST_PASSED = 'passed-in-value';
    const uses = [
      { secret: 'key', env: 'KEY' },
      { secret: '1st.deploy-key', file: 'id' },
    ];
    const passEnv = ['TEST_PASSED'];
    const granted = await grantSecrets(config({ key: { file }, '1st.deploy-key': { file } }), {
      secrets: uses,
      passEnv,
    });
    const folder = join(dir, 'secrets');
    const variables = await writeSecretFiles(folder, granted.files, '/w/secrets');
    expect(granted.env).toEqual({ KEY: VALUE });
    expect(variables).toEqual({ _1ST_DEPLOY_KEY_FILE: '/w/secrets/id' });
    expect(readFileSync(join(folder, 'id'), 'utf8')).toBe(VALUE);
    expect(statSync(join(folder, 'id')).mode & 0o777).toBe(0o400);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(granted.redactor.text(`a ${VALUE} b passed-in-value c`)).toBe('a [redacted] b [redacted] c');
    delete process.env.TEST_PASSED;
  });
});

const pem = `-----BEGIN PRIVATE KEY-----\n${(
  randomBytes(300)
    .toString('base64')
    .match(/.{1,64}/g) ?? []
).join('\n')}\n-----END PRIVATE KEY-----`;
/** Values of which no few characters in a row are likely elsewhere. */
const Value = fc.oneof(
  fc.uint8Array({ minLength: 9, maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString('base64')),
  fc
    .string({ minLength: 12, maxLength: 40, unit: 'grapheme' })
    .filter((text) => Buffer.byteLength(text) >= 12),
  fc.constant(pem),
);

/** The text in chunks of the given sizes, over and over. */
function chunked(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] ?? 1;
    chunks.push(Buffer.from(bytes.subarray(at, at + size)));
    at += size;
  }
  return chunks;
}

function redacted(secrets: readonly string[], bytes: Buffer, sizes: readonly number[]): Buffer {
  const cutter = redactor(secrets).cutter();
  return Buffer.concat([...chunked(bytes, sizes).flatMap((chunk) => cutter.push(chunk)), ...cutter.end()]);
}

const Sizes = fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 5 });
/** A byte that no text has: what is beside it is not part of a longer form. */
const BETWEEN = Buffer.from([0xff]);
const Noise = fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes));

describe('redaction', () => {
  test('every form, in any chunks: nothing is left, and what is around stays byte for byte', () => {
    fc.assert(
      fc.property(
        fc.array(Value, { minLength: 1, maxLength: 4 }),
        fc.infiniteStream(fc.nat()),
        fc.array(Noise, { minLength: 2, maxLength: 6 }),
        Sizes,
        (secrets, pick, noise, sizes) => {
          const forms = secrets.flatMap(formsOf);
          const parts: Buffer[] = [];
          const wanted: Buffer[] = [];
          for (const around of noise) {
            const form = forms[(pick.next().value ?? 0) % forms.length] ?? '';
            parts.push(around, BETWEEN, Buffer.from(form), BETWEEN);
            wanted.push(around, BETWEEN, Buffer.from('[redacted]'), BETWEEN);
          }
          const out = redacted(secrets, Buffer.concat(parts), sizes);
          for (const form of forms) expect(out.includes(Buffer.from(form))).toBe(false);
          if (!forms.some((form) => noise.some((one) => one.includes(form))))
            expect(out.equals(Buffer.concat(wanted))).toBe(true);
        },
      ),
      { numRuns: 400 },
    );
  });

  test('the chunks make no difference, however finds overlap', () => {
    const few = fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 6, maxLength: 9 });
    const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 200 });
    fc.assert(
      fc.property(fc.array(few, { minLength: 1, maxLength: 3 }), text, Sizes, (secrets, printed, sizes) => {
        const bytes = Buffer.from(printed);
        const out = redacted(secrets, bytes, sizes).toString();
        expect(out).toBe(redacted(secrets, bytes, [1_000]).toString());
        expect(out).toBe(redactor(secrets).text(printed));
        // The same by the plainest means: every place that any form covers.
        const covered = [...printed].map(() => false);
        for (const form of secrets.flatMap(formsOf))
          for (let at = printed.indexOf(form); at >= 0; at = printed.indexOf(form, at + 1))
            covered.fill(true, at, at + form.length);
        const left = [...printed].filter((_, i) => !covered[i]).join('');
        expect(out.replaceAll('[redacted]', '')).toBe(left);
      }),
      { numRuns: 1_000 },
    );
  });

  test.each([
    ['base64', (value: string) => Buffer.from(`user:${value}@host`).toString('base64')],
    ['base64 one further', (value: string) => Buffer.from(`user2:${value}@host`).toString('base64')],
    ['base64 two further', (value: string) => Buffer.from(`user22:${value}@host`).toString('base64')],
    ['base64url', (value: string) => Buffer.from(`a${value}`).toString('base64url')],
    ['a query', (value: string) => new URLSearchParams({ key: value }).toString()],
    ['a URL component', encodeURIComponent],
    ['JSON', (value: string) => JSON.stringify({ key: value })],
    ['JSON in JSON', (value: string) => JSON.stringify({ line: JSON.stringify({ key: value }) })],
    ['hex', (value: string) => Buffer.from(value).toString('hex')],
    ['wrapped base64', (value: string) => wrap(Buffer.from(value).toString('base64'), 76)],
    ['wrapped hex', (value: string) => wrap(Buffer.from(value).toString('hex'), 60)],
  ])('%s of a value leaves only what stands around it', (_name, encode) => {
    const odd = `p@ss/w+rd "é" \\ ${randomBytes(9).toString('hex')}`;
    for (const value of [randomBytes(50).toString('base64'), odd, pem]) {
      const left = redactor([value]).text(encode(value)).replaceAll('[redacted]', '');
      // Where base64 joins two bytes, a character of it belongs to both.
      expect(left.length, `${left} of ${encode(value)}`).toBeLessThanOrEqual(encode('').length + 4);
    }
  });

  test('lines of a key count by themselves, what frames them does not', () => {
    const [frame = '', line = ''] = pem.split('\n');
    expect(redactor([pem]).text(`> ${line}\r\n> ${frame}\n`)).toBe(`> [redacted]\r\n> ${frame}\n`);
  });

  test('a key within a JSON document counts by itself, however it is printed', () => {
    const account = JSON.stringify({ type: 'service', private_key: `${pem}\n`, id: 7 }, undefined, 2);
    const [frame = '', ...lines] = pem.split('\n');
    const out = redactor([account]).text(`${pem}\n${JSON.stringify(pem)}\n${account}`);
    expect(out.startsWith(`${frame}\n[redacted]\n`)).toBe(true);
    for (const line of lines.filter((text) => text.length > 15 && !text.startsWith('-')))
      expect(out).not.toContain(line);
  });

  test('nothing is kept back but what may be the beginning of a value', () => {
    const cutter = redactor(['secret-value']).cutter();
    const passed = (chunk: string) => Buffer.concat(cutter.push(Buffer.from(chunk))).toString();
    expect(passed('at work on the secre')).toBe('at work on the ');
    expect(passed('tary\n')).toBe('secretary\n');
    expect(passed('secret-v')).toBe('');
    expect(Buffer.concat(cutter.end()).toString()).toBe('secret-v');
  });
});

const wrap = (text: string, width: number): string =>
  (text.match(new RegExp(`.{1,${width}}`, 'g')) ?? []).join('\n');
