// Secrets and the limits of output in a real fleet: what agents and a writer's commands print of a secret is nowhere to
// be found afterwards, and an agent that prints nothing, or too much, is ended for that.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { formsOf } from '../activities/secret-forms.js';
import { taskWorkflowId } from '../src/domain/ids.js';
import { replayedFleets } from './support/fleet.js';

const start = replayedFleets(5);

const KEY = 'sk-live/Zm9v+bar=0123456789';
const PRINT =
  'echo "raw $KEY"; printf "user:%s" "$KEY" | base64; cat "$CERT_FILE"; printf %s "$KEY" | od -An -tx1 | tr -d " \\n"';

it('prints nothing of a secret anywhere, and ends whoever is silent or prints too much', async () => {
  const cert = ['first line of the certificate', 'second line of the certificate'].join('\n');
  const fleet = await start({
    config: {
      secrets: {
        KEY: { command: ['printf', '%s\\n', KEY] },
        cert: { file: 'cert.txt' },
        missing: { file: 'missing.txt' },
      },
    },
    role: {
      verifyIn: { secrets: [{ secret: 'KEY', env: 'REGISTRY_KEY' }] },
      verify: ['echo "asks with $REGISTRY_KEY"; test ! -e broken'],
    },
    agents: {
      keyed: {
        command: ['sh', '-c', 'exec sh "$SIGNALBOX_PROMPT_FILE"'],
        secrets: ['KEY', { secret: 'cert', file: 'cert.pem' }],
      },
      lacking: { command: 'true', secrets: [{ secret: 'missing', env: 'M' }] },
      quiet: { command: 'echo begun; exec sleep 1000', silence: '1s' },
      loud: { command: 'exec yes', output: '100KB' },
    },
  });
  writeFileSync(join(fleet.dir, 'cert.txt'), `${cert}\n`);
  const agent = 'keyed';
  const role = 'main';
  const ended = await fleet.run('s', [
    { id: 'fails', agent, prompt: `${PRINT}; exit 1` },
    {
      id: 'refused',
      agent,
      role,
      writes: ['broken'],
      prompt: `${PRINT}; ${PRINT} > "$SIGNALBOX_REPORT_FILE"; echo x > broken; git add -A; git commit -qm work`,
    },
    { id: 'lacking', agent: 'lacking', prompt: 'nothing' },
    { id: 'quiet', agent: 'quiet', prompt: 'nothing' },
    { id: 'loud', agent: 'loud', prompt: 'nothing' },
  ]);
  expect(ended.fails?.outcome).toMatchObject({ code: 'AGENT_FAILED' });
  expect(ended.refused?.outcome).toMatchObject({
    code: 'VERIFY_FAILED',
    text: expect.stringContaining('asks with [redacted]'),
  });
  expect(ended.lacking?.outcome).toMatchObject({
    code: 'WORKSTATION_FAILED',
    text: expect.stringMatching(
      /the secret "missing" cannot be had: the file \S+missing\.txt cannot be read/,
    ),
  });
  expect(ended.quiet?.outcome).toMatchObject({
    code: 'AGENT_SILENT',
    text: expect.stringContaining('for 1s'),
  });
  expect(ended.loud?.outcome).toMatchObject({
    code: 'OUTPUT_EXCEEDED',
    text: expect.stringContaining('100KB'),
  });

  const packets = JSON.stringify(await fleet.packets());
  const story = JSON.stringify(
    await Promise.all(Object.keys(ended).map((id) => fleet.signalbox.story(`s/${id}`))),
  );
  const histories = await Promise.all(
    Object.keys(ended).map(async (id) =>
      JSON.stringify(
        await fleet.signalbox.client.workflow.getHandle(taskWorkflowId(fleet.name, `s/${id}`)).fetchHistory(),
        (_, value: unknown) => (value instanceof Uint8Array ? Buffer.from(value).toString() : value),
      ),
    ),
  );
  const logs = readdirSync(join(fleet.fleet.home, 'logs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.log'))
    .map((name) => readFileSync(join(fleet.fleet.home, 'logs', name), 'utf8'))
    .join('\n');
  expect(logs).toContain('raw [redacted]\n');
  expect(packets).toContain('raw [redacted]');
  expect(histories.join('')).toContain('raw [redacted]');
  for (const place of [packets, story, logs, ...histories])
    for (const form of [...formsOf(KEY), ...formsOf(cert)]) expect(place).not.toContain(form);
});
