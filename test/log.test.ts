// `signalbox log`, and what it, `packet` and `why` let through to a terminal.

import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { outputFile } from '../activities/output.js';
import { redactor } from '../activities/redactor.js';
import { TerminalText } from '../src/cli/terminal.js';
import { SegmentReader } from '../src/client/segment-reader.js';
import { clean, cleanJson } from '../src/domain/packet.js';

const root = mkdtempSync(join(tmpdir(), 'signalbox-log-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const MAIN = resolve('dist/src/cli/main.js');

const ESC = '\u001b';
const through = (chunks: readonly (Buffer | string)[]): string => {
  const terminal = new TerminalText();
  return chunks.map((chunk) => terminal.push(Buffer.from(chunk as string))).join('') + terminal.end();
};

/** All that a terminal might take for a command, as agents print it. */
const ATTACKS: [string, string | Buffer][] = [
  ['a title', `${ESC}]0;owned\u0007`],
  ['a link', `${ESC}]8;;http://evil${ESC}\\text${ESC}]8;;${ESC}\\`],
  ['the clipboard', `${ESC}]52;c;ZXZpbA==\u0007`],
  ['a device control string', `${ESC}P$q"p${ESC}\\`],
  ['clearing the screen', `${ESC}[2J${ESC}[H`],
  ['a report of the cursor', `${ESC}[6n`],
  ['private modes', `${ESC}[?1049h`],
  ['a reset', `${ESC}c`],
  ['C1: control sequence', '\u009b2J'],
  ['C1: operating system command', '\u009d0;owned\u009c'],
  ['C1 as a single byte', Buffer.from([0x9b, 0x32, 0x4a])],
  ['a backspace', 'rm -rf /\b\b\b\b'],
  ['text from right to left', 'access\u202etxt.exe\u2066'],
  ['a colour that is none', `${ESC}[31;5${ESC}[2Jm`],
];
const FORBIDDEN =
  /\u001b(?!\[[0-9;:]*m)|[\u0000-\u0008\u000b\u000c\u000e-\u001a\u001c-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;

describe('on a terminal', () => {
  test.each(ATTACKS)('%s does not pass, at once or byte by byte', (_name, attack) => {
    const bytes = Buffer.concat([
      Buffer.from('before '),
      Buffer.from(attack as string),
      Buffer.from(' after'),
    ]);
    const whole = through([bytes]);
    expect(whole).not.toMatch(FORBIDDEN);
    expect(whole).toMatch(/^before [\s\S]* after/);
    expect(through([...bytes].map((byte) => Buffer.from([byte])))).toBe(whole);
    expect(clean(bytes.toString())).not.toMatch(
      /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/,
    );
    const document = JSON.stringify({ text: bytes.toString() }, undefined, 2);
    expect(cleanJson(document)).not.toMatch(FORBIDDEN);
    expect(JSON.parse(cleanJson(document))).toEqual(JSON.parse(document));
  });

  test('whatever is cut wherever', () => {
    const piece = fc.constantFrom(
      ESC,
      '[',
      ']',
      '3',
      ';',
      'm',
      'J',
      '\u009b',
      '\u009d',
      'ü',
      '\u0007',
      '\n',
      '\u202e',
      'x',
    );
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 60 }),
        fc.array(fc.nat(200), { maxLength: 8 }),
        (pieces, cuts) => {
          const bytes = Buffer.from(pieces.join(''));
          const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
          const chunks = at.slice(1).map((end, i) => bytes.subarray(at[i], end));
          expect(through(chunks)).toBe(through([bytes]));
          expect(through(chunks)).not.toMatch(FORBIDDEN);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test('colours and letters of all languages pass, and colours end with the text', () => {
    const text = `${ESC}[1;31mérror 日本 🚂${ESC}[m\ttab\r\n`;
    expect(through([...Buffer.from(text)].map((byte) => Buffer.from([byte])))).toBe(`${text}${ESC}[0m`);
    expect(through(['plain'])).toBe('plain');
  });
});

const keep = { segment: 1_000, segments: 4 };
let count = 0;

describe('a log that is read while it is written', () => {
  const said = async (reader: SegmentReader): Promise<string> => {
    const parts: Buffer[] = [];
    for await (const part of reader.read()) parts.push(part);
    return Buffer.concat(parts).toString();
  };
  const writer = () => {
    const path = join(root, `${count++}`, '001-1.1.log');
    const output = outputFile(path, redactor([]), { keep });
    const write = (text: string) => new Promise<void>((done) => output.stream.write(text, () => done()));
    return { path, output, write };
  };

  test('comes whole across segments, whether they are compressed already or not', async () => {
    const { path, output, write } = writer();
    const reader = new SegmentReader(path);
    expect(await said(reader)).toBe('');
    let written = '';
    let read = '';
    for (let i = 0; i < 40; i++) {
      const text = `${i} ${'x'.repeat((i * 37) % 290)}\n`;
      written += text;
      await write(text);
      if (i % 3 === 0) read += await said(reader);
    }
    await output.close();
    expect(read + (await said(reader))).toBe(written);
  });

  test('says so where it was left out before it could be read', async () => {
    const { path, output, write } = writer();
    const reader = new SegmentReader(path);
    await write('a'.repeat(1_500));
    expect(await said(reader)).toBe('a'.repeat(1_500));
    await write('b'.repeat(10_000));
    await write('the end');
    await output.close();
    const rest = await said(reader);
    expect(rest).toMatch(
      /^\n\[signalbox: output was left out here, for it came faster than it was read\]\nb{2000,3000}the end$/,
    );
    const late = await said(new SegmentReader(path));
    expect(late).toMatch(
      /^a{1000}\n\[signalbox: \d+ bytes of output, \S+, are left out here\]\nb{2000,3000}the end$/,
    );
  });
});

describe('the command', () => {
  const home = join(root, 'fleet');
  mkdirSync(home);
  writeFileSync(
    join(home, 'signalbox.yaml'),
    'fleet: f\nrepositories: { app: { url: ./x } }\nagents: { sh: { command: "true" } }\n',
  );
  const logged = async (stem: string, text: string) => {
    const output = outputFile(join(home, '.signalbox', 'logs', 'p', 't', `${stem}.log`), redactor([]), {
      keep,
    });
    await new Promise<void>((done) => output.stream.write(text, () => done()));
    await output.close();
  };
  const run = (args: string[]) =>
    execFileSync(process.execPath, [MAIN, 'log', 'p/t', ...args], {
      cwd: home,
      env: { ...process.env, SIGNALBOX_HOME: '' },
    }).toString();

  test('prints the segments of the newest attempt in order, or those of another one', async () => {
    const long = Array.from({ length: 300 }, (_, i) => `line ${i}\n`).join('');
    await logged('001-1.9', 'first attempt\n');
    await logged('002-1.10', long);
    expect(run([])).toBe(long);
    expect(run(['--attempt', '1'])).toBe('first attempt\n');
    const { files } = JSON.parse(run(['--json', '--attempt', '2'])) as { files: string[] };
    expect(files.map((file) => file.slice(file.lastIndexOf('/') + 1))).toEqual([
      '002-1.10.log.gz',
      '002-1.10.1.log.gz',
      '002-1.10.2.log',
    ]);
  });

  test('lets no control sequence through to a terminal', async () => {
    await logged('003-2.1', `${ESC}]0;owned\u0007\u009b2J${ESC}[32mgreen${ESC}[m\n`);
    const args = ['-qec', `${process.execPath} ${MAIN} log p/t`, '/dev/null'];
    const seen = await new Promise<string>((done) => {
      const script = spawn('script', args, { cwd: home, stdio: ['ignore', 'pipe', 'inherit'] });
      let text = '';
      script.stdout.on('data', (chunk) => {
        text += chunk;
      });
      script.once('close', () => done(text));
    });
    expect(seen).toContain(`${ESC}[32mgreen${ESC}[m`);
    expect(seen).toContain(']0;owned');
    expect(seen).not.toMatch(FORBIDDEN);
  });
});
