// Tasks that see each other's trees, on a real server, in real sandboxes: nothing without a grant, by a person or by a rule; the
// operator's command is asked first; what is taken back is gone while its reader runs.

import { execFile } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect } from 'vitest';
import { coordinatorId, SIGNAL, taskWorkflowId } from '../src/domain/ids.js';
import { explain, type ReasonCode } from '../src/domain/reasons.js';
import type { Story } from '../src/domain/views.js';
import { edit, MAIN, replayedFleets, type TestFleet } from './support/fleet.js';
import { sandboxTest } from './support/sandbox.js';

const start = replayedFleets(1);

const role = 'main';
const FILES = { 'src/parser.ts': 'parse\n' };

async function cli(fleet: TestFleet, ...args: string[]) {
  const done = promisify(execFile)(process.execPath, [MAIN, ...args, '--config', fleet.configFile], {
    env: fleet.env,
  });
  return await done.then(
    ({ stdout }) => ({ code: 0, out: stdout }),
    (error: { code: number; stdout: string; stderr: string }) => ({
      code: error.code,
      out: error.stdout + error.stderr,
    }),
  );
}

/** A file in the result of a running agent's, which the host can read and write: how the test speaks with an agent. */
async function place(fleet: TestFleet, id: string): Promise<(name: string) => string> {
  const fence = await fleet.until(`${id} to run`, async () => {
    const story = await fleet.signalbox.story(id);
    return story?.task.phase === 'running'
      ? (await fleet.signalbox.overview()).claims.find(({ holder }) => holder === id)?.fence
      : undefined;
  });
  const dir = join(fleet.fleet.home, 'workstations', id, fence);
  await fleet.until(`${id} to say so`, () => existsSync(join(dir, 'result', 'started')));
  return (name) => join(dir, 'result', name);
}

const said = (fleet: TestFleet, file: string, what: RegExp | string) =>
  fleet.until(`${file} to say ${what}`, () => {
    const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
    return (typeof what === 'string' ? text.includes(what) : what.test(text)) ? text : undefined;
  });

/** Goes on when the test has left the file. */
const wait = (name: string) => `until test -e "$SIGNALBOX_RESULT/${name}"; do sleep 0.1; done`;
const STARTED = 'touch "$SIGNALBOX_RESULT/started"';
/** Says again and again what is in its folder. */
const LOOKS = [
  STARTED,
  'while ! test -e "$SIGNALBOX_RESULT/stop"; do',
  '  (ls -A "$SIGNALBOX_SHARED"; cat "$SIGNALBOX_SHARED"/code/src/new.ts) > "$SIGNALBOX_RESULT/next" 2>&1; echo "--" >> "$SIGNALBOX_RESULT/next"',
  '  mv "$SIGNALBOX_RESULT/next" "$SIGNALBOX_RESULT/seen"; sleep 0.1',
  'done',
].join('\n');

const knowsGrant = (story: Story | undefined): boolean =>
  story?.decisions.some(({ code }) => code === 'PEER_GRANTED') === true;

const codesOf = async (fleet: TestFleet, id: string) =>
  ((await fleet.signalbox.story(id))?.decisions ?? []).map(({ code }) => code);

describe('a reviewer', () => {
  sandboxTest('sees the commits of a coder under a grant, and nothing before and after it', async () => {
    const fleet = await start({ isolation: 'sandbox', files: FILES });
    const code = `${STARTED}\n${edit('src/new.ts', 'first')}\necho TOKEN=x > .env\n${wait('more')}\n${edit('src/new.ts', 'second')}\ntouch "$SIGNALBOX_RESULT/done"\n${wait('stop')}`;
    const ids = await fleet.submit('x', [
      { id: 'code', prompt: code, role, writes: ['src', '.env'] },
      { id: 'review', prompt: LOOKS, peers: [{ task: 'code', as: 'code' }] },
    ]);
    const [coder, reviewer] = [await place(fleet, 'x/code'), await place(fleet, 'x/review')];
    await said(fleet, reviewer('seen'), /^cat: .*No such file[\s\S]*--/);
    expect(await codesOf(fleet, 'x/review')).toContain('PEER_UNGRANTED');

    const granted = await cli(fleet, 'grant', 'x/code', '--to', 'x/review', '--by', 'ana');
    expect(granted).toEqual({ code: 0, out: 'x/review may see it, as .shared/code\n' });
    await said(fleet, reviewer('seen'), 'code\ncode.manifest.json\nfirst\n--');
    expect((await cli(fleet, 'why', 'x/review')).out).toContain('ana lets it see x/code as .shared/code');
    expect((await cli(fleet, 'why', 'x/code')).out).toContain('ana lets x/review see it, as .shared/code');

    const { epoch } = await fleet.signalbox.overview();
    const seen: string[] = [];
    const watch = setInterval(() => seen.push(readFileSync(reviewer('seen'), 'utf8')), 100);
    await fleet.signalbox.client.workflow.getHandle(coordinatorId(fleet.name)).terminate();
    // The one that is gone still answers, as it was.
    await fleet.until('another coordinator to know of it', async () => {
      const overview = await fleet.signalbox.overview().catch(() => undefined);
      return (overview?.epoch ?? 0) > epoch && knowsGrant(await fleet.signalbox.story('x/review'));
    });
    clearInterval(watch);
    expect(
      seen.filter((text) => !text.includes('first')),
      'it was there all the time',
    ).toEqual([]);

    writeFileSync(coder('more'), '');
    await fleet.until('the second commit', () => existsSync(coder('done')));
    expect(readFileSync(reviewer('seen'), 'utf8'), 'as it was when it was made').not.toContain('second');

    const revoked = await cli(fleet, 'revoke', 'x/code', '--to', 'x/review', '--by', 'ben');
    expect(revoked.code).toBe(0);
    await said(fleet, reviewer('seen'), /^cat: .*No such file[\s\S]*--/);

    for (const file of [coder('stop'), reviewer('stop')]) writeFileSync(file, '');
    const ended = await fleet.signalbox.wait(ids);
    expect(ids.map((id) => ended.get(id)?.outcome?.kind)).toEqual(['landed', 'finished']);
    const [review] = await fleet.packets('x/review');
    expect(review?.decisions.map(({ code }) => code)).toEqual(
      expect.arrayContaining(['PEER_GRANTED', 'PEER_REVOKED']),
    );
    expect(review?.attempts[0]?.peers?.[0]).toMatchObject({ task: 'x/code', as: 'code', made: 1, files: 3 });
    const [coded] = await fleet.packets('x/code');
    expect(
      coded?.decisions.flatMap(({ code, evidence }) =>
        code.startsWith('PEER') ? [[code, evidence.by]] : [],
      ),
    ).toEqual([
      ['PEER_SHOWN', 'ana'],
      ['PEER_HIDDEN', 'ben'],
    ]);
    expect(await fleet.violations(ids)).toEqual([]);
  });

  sandboxTest(
    'sees the live tree by a rule, without what no peer may see, and as new as it asks for',
    async () => {
      const fleet = await start({
        isolation: 'sandbox',
        files: FILES,
        config: { peering: { grants: [{ owner: 'main', to: 'read-only', from: 'worktree' }] } },
      });
      const code = `${STARTED}\necho draft > src/new.ts; echo TOKEN=x > .env; ln -s /etc/passwd src/link; mkfifo src/pipe\n touch "$SIGNALBOX_RESULT/written"\n${wait('more')}\necho better > src/new.ts\ntouch "$SIGNALBOX_RESULT/done"\n${wait('stop')}; rm -f .env src/link src/pipe`;
      const review = [
        STARTED,
        'until signalbox refresh code; do sleep 0.2; done',
        'cat "$SIGNALBOX_SHARED/code/src/new.ts" > "$SIGNALBOX_RESULT/first"; (cd "$SIGNALBOX_SHARED" && find . -printf "%P %y %m\\n" | sort) > "$SIGNALBOX_RESULT/list"',
        '(echo x > "$SIGNALBOX_SHARED/code/src/new.ts"; rm -rf "$SIGNALBOX_SHARED/code"; chmod -R 777 "$SIGNALBOX_SHARED") 2>/dev/null',
        'cp "$SIGNALBOX_SHARED/code.manifest.json" "$SIGNALBOX_RESULT/manifest"; touch "$SIGNALBOX_RESULT/looked"',
        wait('again'),
        'signalbox refresh > "$SIGNALBOX_RESULT/said"; cat "$SIGNALBOX_SHARED/code/src/new.ts" > "$SIGNALBOX_RESULT/second"',
        'signalbox refresh other >> "$SIGNALBOX_RESULT/said"; echo $? >> "$SIGNALBOX_RESULT/said"; touch "$SIGNALBOX_RESULT/ended"',
        wait('stop'),
      ].join('\n');
      const [id = ''] = await fleet.submit('x', [{ id: 'code', prompt: code, role, writes: ['src'] }]);
      const coder = await place(fleet, 'x/code');
      await fleet.until('the draft', () => existsSync(coder('written')));
      const peers = [{ task: 'x/code', as: 'code', from: 'worktree' as const }];
      const [other = ''] = await fleet.submit('y', [{ id: 'review', prompt: review, peers }]);
      const reviewer = await place(fleet, 'y/review');
      await fleet.until('the look', () => existsSync(reviewer('looked')));
      expect(readFileSync(reviewer('first'), 'utf8')).toBe('draft\n');
      expect(readFileSync(reviewer('list'), 'utf8').trim().split('\n')).toEqual([
        'd 755',
        'code d 555',
        'code.manifest.json f 644',
        'code/README.md f 444',
        'code/src d 555',
        'code/src/new.ts f 444',
        'code/src/parser.ts f 444',
      ]);
      expect(JSON.parse(readFileSync(reviewer('manifest'), 'utf8'))).toMatchObject({
        task: 'x/code',
        from: 'worktree',
        counts: { '.env*': 1, 'symbolic link': 1, 'special file': 1, '.git': 1 },
      });
      expect(await codesOf(fleet, 'y/review')).toContain('PEER_BY_RULE');
      writeFileSync(coder('more'), '');
      await fleet.until('the change', () => existsSync(coder('done')));
      writeFileSync(reviewer('again'), '');
      await fleet.until('the end', () => existsSync(reviewer('ended')));
      expect(readFileSync(reviewer('second'), 'utf8')).toBe('better\n');
      expect(readFileSync(reviewer('said'), 'utf8')).toMatch(
        /^code is the working tree of x\/code: 3 files, 4 left out\nrefused: no peer is called other; there are: code\n3\n$/,
      );

      expect((await cli(fleet, 'revoke', 'x/code', '--to', 'y/review')).code, 'against the rule').toBe(0);
      await fleet.until('it to be gone', () => !existsSync(join(reviewer('x'), '../../shared/code')));
      for (const file of [coder('stop'), reviewer('stop')]) writeFileSync(file, '');
      const ended = await fleet.signalbox.wait([id, other]);
      expect([id, other].map((one) => ended.get(one)?.outcome?.kind)).toEqual(['landed', 'finished']);
      expect(fleet.file('src/new.ts'), 'the owner’s tree is as it left it').toBe('better');
    },
  );

  sandboxTest('sees what a coder has landed, who ended long ago', async () => {
    const fleet = await start({ isolation: 'sandbox', files: FILES });
    const { code } = await fleet.run('x', [
      { id: 'code', prompt: edit('src/new.ts', 'done'), role, writes: ['src'] },
    ]);
    expect(code?.outcome?.kind).toBe('landed');
    const peers = [{ task: 'x/code', as: 'code', from: 'worktree' as const }];
    const ids = await fleet.submit('y', [{ id: 'review', prompt: LOOKS, peers }]);
    const reviewer = await place(fleet, 'y/review');
    expect((await cli(fleet, 'grant', 'x/code', '--to', 'y/review')).code).toBe(0);
    await said(fleet, reviewer('seen'), 'code\ncode.manifest.json\ndone\n');
    writeFileSync(reviewer('stop'), '');
    expect((await fleet.signalbox.wait(ids)).get('y/review')?.outcome?.kind).toBe('finished');
  });
});

describe('whoever cannot be shown a tree', () => {
  const tree = { task: 'x/code', as: 'code', from: 'worktree' as const };
  const config = { peering: { grants: [{ owner: 'main', to: 'read-only', from: 'worktree' }] } };

  sandboxTest(
    'is told so: an agent without isolation, a tree of another host, one with nothing to show',
    async () => {
      const fleet = await start({
        isolation: 'sandbox',
        files: FILES,
        config: { ...config, ceiling: 9 },
        agents: { open: { isolation: 'none', command: ['sh', '-c', 'exec sh "$SIGNALBOX_PROMPT_FILE"'] } },
      });
      const idle = `${STARTED}\n${wait('stop')}`;
      const [code = ''] = await fleet.submit('x', [
        { id: 'code', prompt: idle, agent: 'sh', role, writes: ['src'], retry: { attempts: 1 } },
      ]);
      const coder = await place(fleet, 'x/code');
      const asks =
        'signalbox refresh code > "$SIGNALBOX_REPORT_FILE"; test $? = 3 && echo refused >> "$SIGNALBOX_REPORT_FILE"; exit 0';
      const { open, early } = await fleet.run('y', [
        { id: 'open', prompt: asks, agent: 'open', peers: [tree] },
        { id: 'early', prompt: asks, agent: 'sh', peers: [{ ...tree, from: 'commit' }] },
      ]);
      expect([open?.outcome?.kind, early?.outcome?.kind]).toEqual(['finished', 'finished']);
      // What is left of it here says no more that its agent runs, as on any other host.
      rmSync(join(coder('x'), '../../workstation.json'));
      await fleet.run('z', [{ id: 'far', prompt: asks, agent: 'sh', peers: [tree] }]);
      const reports = await Promise.all(
        ['y/open', 'y/early', 'z/far'].map(async (id) => {
          const [packet] = await fleet.packets(id);
          const [attempt] = packet?.attempts ?? [];
          return [attempt?.report, attempt?.peers?.[0]?.refused?.code, attempt?.peers?.[0]?.made];
        }),
      );
      const report = (code: ReasonCode) =>
        `refused: ${explain(code, { peer: 'x/code' })} [${code}]\nrefused\n`;
      expect(reports).toEqual(
        (['PEER_NOT_ISOLATED', 'PEER_NOTHING_KEPT', 'PEER_ELSEWHERE'] as const).map((code) => [
          report(code),
          code,
          0,
        ]),
      );
      writeFileSync(coder('stop'), '');
      await fleet.signalbox.wait([code]);
    },
  );
});

describe('the operator’s command', () => {
  sandboxTest('is asked for every grant of a person, with its facts; a refusal shows nothing', async () => {
    const script =
      'env | grep ^SIGNALBOX_ | grep -v WORKSTATION | sort >> "$FACTS"; echo asked; echo "no key was touched"; test -e "$FACTS.touched"';
    const fleet = await start(
      {
        isolation: 'sandbox',
        files: FILES,
        config: { peering: { confirm: ['sh', '-c', script], passEnv: ['FACTS'] } },
      },
      false,
    );
    const facts = join(fleet.dir, 'facts');
    await fleet.startWorker([], fleet.address, { FACTS: facts });
    const ids = await fleet.submit('x', [
      {
        id: 'code',
        prompt: `${STARTED}\n${edit('src/new.ts', 'first')}\n${wait('stop')}`,
        role,
        writes: ['src'],
      },
      { id: 'review', prompt: LOOKS, peers: [{ task: 'code', as: 'code' }] },
    ]);
    const [coder, reviewer] = [await place(fleet, 'x/code'), await place(fleet, 'x/review')];
    const refused = await cli(fleet, 'grant', 'x/code', '--to', 'x/review', '--by', 'ana');
    expect(refused).toEqual({ code: 3, out: 'refused: no key was touched\n' });
    expect(readFileSync(facts, 'utf8').trim().split('\n')).toEqual([
      'SIGNALBOX_AS=code',
      'SIGNALBOX_BY=ana',
      `SIGNALBOX_FLEET=${fleet.name}`,
      'SIGNALBOX_FROM=commit',
      'SIGNALBOX_OWNER=x/code',
      'SIGNALBOX_TO=x/review',
    ]);
    // Past the command line: any client can signal.
    const workflow = fleet.signalbox.client.workflow.getHandle(taskWorkflowId(fleet.name, 'x/review'));
    await workflow.signal(SIGNAL.grantPeer, { id: 'raw', owner: 'x/code', by: 'eve' });
    await fleet.until('that to be refused', async () =>
      (await fleet.signalbox.story('x/review'))?.decisions.some(
        ({ code, evidence }) => code === 'PEER_REFUSED' && evidence.by === 'eve',
      ),
    );
    expect(existsSync(join(reviewer('x'), '../../shared/code'))).toBe(false);
    expect((await cli(fleet, 'grant', 'x/other', '--to', 'x/review')).code).toBe(3);

    writeFileSync(`${facts}.touched`, '');
    expect((await cli(fleet, 'grant', 'x/code', '--to', 'x/review')).code).toBe(0);
    await said(fleet, reviewer('seen'), 'first');
    for (const file of [coder('stop'), reviewer('stop')]) writeFileSync(file, '');
    await fleet.signalbox.wait(ids);
  });
});
