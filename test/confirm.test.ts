// The command that an operator has asked before a grant counts: exit code 0 allows, everything else refuses, with a reason.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { confirm } from '../activities/confirm.js';
import { markedProcesses } from '../activities/processes.js';
import { Config } from '../src/domain/config.js';

const home = mkdtempSync(join(tmpdir(), 'confirm-'));
afterAll(() => rmSync(home, { recursive: true }));

const FACTS = { owner: 'p/code', to: 'p/review', as: 'code', from: 'commit', by: 'ana' } as const;
const logged: string[] = [];

function ask(command: string | undefined, more: { peering?: object; by?: string; stop?: AbortSignal } = {}) {
  const config = Config.parse({
    fleet: 'f',
    repositories: { app: { url: '.' } },
    agents: { sh: { command: 'x' } },
    peering: { ...(command === undefined ? {} : { confirm: ['sh', '-c', command] }), ...more.peering },
  });
  const facts = { ...FACTS, by: more.by ?? FACTS.by };
  const stop = more.stop ?? new AbortController().signal;
  return confirm({ config, home, log: (line) => logged.push(line) }, facts, stop);
}

describe('a grant', () => {
  test('counts as it is where no command is configured', async () => {
    expect(await ask(undefined)).toMatchObject({ allowed: true });
  });

  test('counts when the command ends with 0', async () => {
    const before = Date.now();
    const { allowed, at } = await ask('echo fine');
    expect([allowed, at >= before]).toEqual([true, true]);
    expect(logged.at(-1)).toBe('allowed: p/review sees p/code as .shared/code, granted by ana');
  });

  test.each([
    ['another exit code, with its last line', 'echo first; echo "no key" >&2; echo; exit 1', 'no key'],
    ['another exit code without a word', 'exit 7', '`confirm` ended with exit code 7'],
    ['a signal', 'kill -9 $$', '`confirm` ended by SIGKILL'],
    ['control characters', 'printf "a\\033[2Jb\\n"; exit 1', 'a\\x1b[2Jb'],
  ])('is refused by %s', async (_, command, text) => {
    expect(await ask(command)).toMatchObject({ allowed: false, text });
  });

  test('is refused by a program that is not there', async () => {
    const none = await ask(undefined, { peering: { confirm: ['/no/such/program'] } });
    expect(none.allowed).toBe(false);
    expect(none.text).toContain('ENOENT');
  });

  test('is refused when it takes too long, whatever it says then, and nothing of it is left', async () => {
    const file = join(home, 'late');
    const late = await ask(`trap 'echo yes > "${file}"; exit 0' TERM; sleep 600 & wait`, {
      peering: { timeout: '1s' },
    });
    expect(late).toMatchObject({ allowed: false, text: '`confirm` took longer than 1s' });
    expect(readFileSync(file, 'utf8'), 'it was told, and ended well').toBe('yes\n');
    expect(markedProcesses((marker) => marker.startsWith(home))).toEqual([]);
  });

  test('is refused when nobody waits for it any longer', async () => {
    const stop = new AbortController();
    const asked = ask('sleep 600', { stop: stop.signal });
    stop.abort();
    expect((await asked).allowed).toBe(false);
    expect(markedProcesses((marker) => marker.startsWith(home))).toEqual([]);
  });

  test('is asked about with its facts, and with no more of the worker than is named', async () => {
    process.env.CONFIRM_SECRET = 'pass-phrase-of-the-operator';
    process.env.CONFIRM_HIDDEN = 'x';
    const file = join(home, 'env');
    const by = 'eve\n$(touch /tmp/x)\u001b[2J';
    const { text } = await ask(
      `env | grep -E "^(SIGNALBOX|CONFIRM)_" | grep -v WORKSTATION | sort > ${file}; echo $CONFIRM_SECRET; exit 1`,
      {
        peering: { passEnv: ['CONFIRM_SECRET'] },
        by,
      },
    );
    expect(readFileSync(file, 'utf8').trim().split('\n')).toEqual([
      'CONFIRM_SECRET=pass-phrase-of-the-operator',
      'SIGNALBOX_AS=code',
      'SIGNALBOX_BY=eve $(touch /tmp/x)\\x1b[2J',
      'SIGNALBOX_FLEET=f',
      'SIGNALBOX_FROM=commit',
      'SIGNALBOX_OWNER=p/code',
      'SIGNALBOX_TO=p/review',
    ]);
    expect(text).not.toContain('pass-phrase');
  });
});
