// Hand-off on a real server, in real sandboxes: the taker finds the commits and the note, lands both, and a coordinator that
// loses its state in between changes nothing of that.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect } from 'vitest';
import { coordinatorId } from '../src/domain/ids.js';
import { edit, MAIN, replayedFleets, type TestFleet } from './support/fleet.js';
import { sandboxTest } from './support/sandbox.js';

const start = replayedFleets(1);
const role = 'main';

const cli = (fleet: TestFleet, ...args: string[]) =>
  promisify(execFile)(process.execPath, [MAIN, ...args, '--config', fleet.configFile], {
    env: fleet.env,
  }).then(
    ({ stdout }) => ({ code: 0, out: stdout }),
    (error: { code: number; stdout: string; stderr: string }) => ({
      code: error.code,
      out: error.stdout + error.stderr,
    }),
  );

const NOTE =
  'cat "$SIGNALBOX_HANDOFF_FILE" > "$SIGNALBOX_REPORT_FILE"; (echo x > "$SIGNALBOX_HANDOFF_FILE") 2>/dev/null';

describe('a task that takes over from another', () => {
  sandboxTest(
    'starts from its commits and its report, fails, and is retried from the same; what it lands is both',
    async () => {
      const fleet = await start({ isolation: 'sandbox' });
      const step = `${edit('src/a', 'first')}\necho 'half of it is done' > "$SIGNALBOX_REPORT_FILE"`;
      const fails = `${NOTE}\ntest "$(cat src/a)" = first || exit 9\ngit fetch -q; git cat-file -e origin/main:go || exit 7\n${edit('src/b', 'second')}`;
      const ids = await fleet.submit('x', [
        { id: 'step', prompt: step, role, writes: ['src/a'] },
        { id: 'last', prompt: fails, role, writes: ['src'], takesOver: 'step' },
      ]);
      const ended = await fleet.signalbox.wait(ids);
      expect(ids.map((id) => ended.get(id)?.outcome?.code)).toEqual(['HANDED_OFF', 'AGENT_FAILED']);
      expect(ended.get('x/last')?.outcome?.text, 'it had the file, and not yet what it wants').toContain(
        'exit code 7',
      );
      expect(() => fleet.file('src/a'), 'it has not landed').toThrow();

      const refused = await cli(fleet, 'retry', 'x/step');
      expect(refused).toMatchObject({ code: 3 });
      expect(refused.out).toContain(
        'task x/step has handed its work to x/last, which goes on with it: retry that one',
      );

      const { epoch } = await fleet.signalbox.overview();
      await fleet.signalbox.client.workflow.getHandle(coordinatorId(fleet.name)).terminate();
      await fleet.until('another coordinator', async () => {
        const overview = await fleet.signalbox.overview().catch(() => undefined);
        return (overview?.epoch ?? 0) > epoch;
      });
      const moved = fleet.push({ go: 'on\n' }, 'somebody moves the branch');
      expect((await cli(fleet, 'retry', 'x/last')).code).toBe(0);
      await fleet.until('its landing', async () => {
        const line = (await fleet.signalbox.wait(['x/last'])).get('x/last');
        return line?.outcome?.kind === 'landed';
      });
      expect([fleet.file('src/a'), fleet.file('src/b'), fleet.file('go')]).toEqual(['first', 'second', 'on']);

      const packets = await fleet.packets('x/last');
      const [packet] = packets.slice(-1);
      const [handed] = await fleet.packets('x/step');
      const commit = handed?.outcome.commit ?? '';
      expect(packet?.takesOver).toBe('x/step');
      const note = packet?.attempts[0]?.report ?? '';
      expect(note).toContain('# Taken over from x/step');
      expect(note).toContain(`Commit ${commit}, on the newest branch `);
      expect(note).toContain('## Its report\n\nhalf of it is done');
      expect(fleet.git(['-C', fleet.origin, 'merge-base', '--is-ancestor', moved, 'main'])).toBe('');
      expect(await fleet.violations(ids)).toEqual([]);
    },
  );

  sandboxTest('fails, and lands nothing, when the commits do not apply any more', async () => {
    const fleet = await start({
      isolation: 'sandbox',
      files: { 'src/a': 'old\n' },
      config: { issues: { closed: 'cancel' } },
    });
    const assumes = [{ kind: 'issue' as const, key: 'R-1', state: 'approved' }];
    const ids = await fleet.submit('x', [
      { id: 'step', prompt: 'echo ours > src/a; git commit -qam ours', role, writes: ['src'] },
      { id: 'last', prompt: 'true', role, writes: ['src'], takesOver: 'step', assumes },
    ]);
    await fleet.phase('x/step', 'ended');
    fleet.push({ 'src/a': 'theirs\n' }, 'somebody does as they like');
    expect((await cli(fleet, 'issue', 'R-1', '--state', 'approved')).code).toBe(0);
    const ended = await fleet.signalbox.wait(ids);
    expect(ended.get('x/last')?.outcome).toMatchObject({ kind: 'failed', code: 'HANDOFF_CONFLICT' });
    expect(fleet.file('src/a')).toBe('theirs');
    const commit = ended.get('x/step')?.outcome?.commit ?? '';
    expect(
      fleet.git([
        '-C',
        fleet.origin,
        'for-each-ref',
        '--points-at',
        commit,
        'refs/signalbox/attempts/x/step',
      ]),
    ).not.toBe('');
    expect(await fleet.violations(ids)).toEqual([]);
  });
});
