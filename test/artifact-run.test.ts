// Artifacts in a real fleet: read-only tasks in sandboxes leave files, the packet tells which, the command line fetches
// them, and another task can rely on them.

import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { taskWorkflowId } from '../src/domain/ids.js';
import { whyNoSandbox } from '../worker/isolation.js';
import { MAIN, replayedFleets, type TestFleet } from './support/fleet.js';
import { sandboxTest } from './support/sandbox.js';

// Fleets are looked at after the tests: without a sandbox there are none.
const start = whyNoSandbox() === undefined ? replayedFleets(4) : undefined;
const KEY = 'sk-live/Zm9v+bar=0123456789';

/** The digest as anybody can take it, without Signalbox. */
const DIGEST = `find . -type f -printf '%P\\n' | LC_ALL=C sort | while IFS= read -r file; do
  printf '%s %s %s\\n' "$(sha256sum < "$file" | cut -c 1-64)" "$(stat -c %s "$file")" "$file"; done | sha256sum | cut -c 1-64`;

function says(fleet: TestFleet, ...args: string[]) {
  const options = { encoding: 'utf8', env: fleet.env, cwd: fleet.dir } as const;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [MAIN, ...args, '--config', fleet.configFile],
    options,
  );
  return { status, stdout, stderr };
}

sandboxTest(
  'a read-only task’s files come back as its artifact, and another task relies on their digest',
  async () => {
    if (!start) return;
    const fleet = await start({
      isolation: 'sandbox',
      config: { secrets: { KEY: { command: ['printf', '%s', KEY] } } },
      agents: { keyed: { command: ['sh', '-c', 'exec sh "$SIGNALBOX_PROMPT_FILE"'], secrets: ['KEY'] } },
    });
    const agent = 'sh';
    const files = 'mkdir -p data/deep; seq 1000 > data/deep/numbers; echo found > "a b"; : > empty';
    const ended = await fleet.run('s', [
      {
        id: 'survey',
        agent: 'keyed',
        prompt: `cd "$SIGNALBOX_RESULT"; ${files}; echo "key $KEY" > keys; ln -s /etc/passwd users; echo said > report.md; touch /w/repo/x`,
      },
      { id: 'quiet', agent, prompt: 'echo said > "$SIGNALBOX_REPORT_FILE"' },
      { id: 'fails', agent, prompt: 'echo half > "$SIGNALBOX_RESULT/half"; exit 3' },
      {
        id: 'writes',
        agent,
        role: 'main',
        writes: ['new'],
        prompt: 'echo x > "$SIGNALBOX_RESULT/x"; echo new > new; git add -A; git commit -qm new',
      },
    ]);
    expect(['survey', 'quiet', 'fails', 'writes'].map((id) => ended[id]?.outcome?.kind)).toEqual([
      'failed',
      'finished',
      'failed',
      'landed',
    ]);
    const recordOf = async (id: string) => (await fleet.packets(`s/${id}`))[0]?.attempts[0];
    // Its last command failed, for its clone is read-only; what it had made by then is kept.
    const survey = await recordOf('survey');
    expect(survey).toMatchObject({ report: 'said\n', exitCode: 1 });
    expect(survey?.artifact).toEqual({
      stored: {
        digest: expect.stringMatching(/^[0-9a-f]{64}$/),
        files: 3,
        bytes: 3_893 + 6,
        repository: 'app',
        ref: expect.stringMatching(/^refs\/signalbox\/artifacts\/s\/survey\/\d+\.\d+$/),
      },
      leftOut: [
        { path: 'keys', reason: 'secret: a secret was found in it' },
        { path: 'users', reason: 'symbolic link: it may lead anywhere' },
      ],
    });
    expect((await recordOf('fails'))?.artifact?.stored?.files).toBe(1);
    for (const id of ['quiet', 'writes']) expect(await recordOf(id)).not.toHaveProperty('artifact');
    const refs = fleet.git([
      '-C',
      fleet.origin,
      'for-each-ref',
      '--format=%(refname)',
      'refs/signalbox/artifacts',
    ]);
    expect(refs.split('\n').map((ref) => ref.split('/').slice(0, -1).join('/'))).toEqual([
      'refs/signalbox/artifacts/s/fails',
      'refs/signalbox/artifacts/s/survey',
    ]);
    const objects = execFileSync('git', ['-C', fleet.origin, 'cat-file', '--batch-all-objects', '--batch']);
    expect(objects.includes(KEY)).toBe(false);

    // It costs its history nothing: one activity runs the agent, as for the task that left nothing.
    for (const id of ['survey', 'quiet']) {
      const handle = fleet.signalbox.client.workflow.getHandle(taskWorkflowId(fleet.name, `s/${id}`));
      const { events = [] } = await handle.fetchHistory();
      const started = (events ?? []).flatMap(
        (event) => event.activityTaskScheduledEventAttributes?.activityType?.name ?? [],
      );
      expect(started).toEqual(['runAgent']);
    }

    const digest = survey?.artifact?.stored?.digest ?? '';
    expect(says(fleet, 'packet', 's/survey').stdout).toContain(
      `artifact: 3 files, 3.8KB, sha256 ${digest}\n       at ${survey?.artifact?.stored?.ref} of app; signalbox artifact s/survey --attempt 1 --out DIR\n     not in the artifact: keys: secret`,
    );
    expect(says(fleet, 'artifact', 's/survey').stdout).toMatch(
      /^Artifact of s\/survey, attempt 1: 3 files, 3\.8KB, sha256 \w{64}\n {2}\w{64} 6 a b\n {2}\w{64} 3893 data\/deep\/numbers\n {2}\w{64} 0 empty\n$/,
    );
    const written = says(fleet, 'artifact', 's/survey', '--attempt', '1', '--out', 'out/survey', '--json');
    expect(JSON.parse(written.stdout)).toMatchObject({
      task: 's/survey',
      attempt: 1,
      digest,
      out: 'out/survey',
      files: [{ path: 'a b' }, { path: 'data/deep/numbers' }, { path: 'empty', size: 0 }],
      leftOut: [{ path: 'keys' }, { path: 'users' }],
    });
    const out = join(fleet.dir, 'out', 'survey');
    expect(readFileSync(join(out, 'data/deep/numbers'), 'utf8').split('\n').length).toBe(1_001);
    expect(readdirSync(out).sort()).toEqual(['a b', 'data', 'empty']);
    expect(execFileSync('sh', ['-c', DIGEST], { cwd: out, encoding: 'utf8' }).trim()).toBe(digest);
    for (const [args, code, said] of [
      [['s/survey', '--out', 'out/survey'], 3, 'is there already'],
      [['s/survey', '--attempt', '2'], 3, 'had no attempt 2'],
      [['s/survey', '--attempt', 'x'], 2, 'expected a number'],
      [['s/quiet'], 3, 'has left no artifact'],
      [['s/none'], 3, 'no change packet'],
    ] as const) {
      const { status, stderr } = says(fleet, 'artifact', ...args);
      expect([status, stderr]).toEqual([code, expect.stringContaining(said)]);
    }

    const relying = await fleet.run('r', [
      {
        id: 'right',
        agent,
        prompt: 'true',
        assumes: [{ kind: 'artifact', at: 'task:s/survey', sha256: digest }],
      },
      ...['s/survey', 's/quiet'].map((task, i) => ({
        id: `wrong-${i}`,
        agent,
        prompt: 'true',
        onBroken: 'cancel' as const,
        assumes: [{ kind: 'artifact' as const, at: `task:${task}`, sha256: 'a'.repeat(64) }],
      })),
    ]);
    expect(relying.right?.outcome?.kind).toBe('finished');
    expect([0, 1].map((i) => relying[`wrong-${i}`]?.outcome?.text)).toEqual([
      `it assumes task:s/survey with the digest aaaaaaaaaaaa, but it has ${digest.slice(0, 12)}; it is cancelled`,
      'it assumes task:s/quiet with the digest aaaaaaaaaaaa, but it is not there; it is cancelled',
    ]);
    const early = await fleet.submit('e', [
      {
        id: 'early',
        agent,
        prompt: 'true',
        onBroken: 'cancel',
        assumes: [{ kind: 'artifact', at: 'task:e/never', sha256: digest }],
      },
    ]);
    await fleet.until('what cannot be found out to be said', async () => {
      const story = await fleet.signalbox.story(early[0] ?? '').catch(() => undefined);
      return JSON.stringify(story ?? '').includes('no change packet of e/never');
    });
  },
);
