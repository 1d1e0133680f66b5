// What agents wrote, as verify commands run it before it lands. Each case was seen to fail with its defence taken out; the
// list is in defences.txt beside this file.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { DeployContext } from '../../activities/checkout.js';
import type { Host } from '../../activities/host.js';
import { markedProcesses } from '../../activities/processes.js';
import { regenerate } from '../../activities/regenerate.js';
import { verifyTree } from '../../activities/verify.js';
import { Config } from '../../src/domain/config.js';
import { attack, attackedHost } from '../support/attacker.js';

const host = attackedHost();
const SECRET = 'deploy-key-0123456789';

interface More {
  role?: object;
  claims?: object;
  sandboxes?: Host['sandboxes'];
}

/** An agent has committed the script as test.sh: what its writer is given. */
async function contextOf(
  script: string,
  { role = {}, claims, sandboxes }: More = {},
): Promise<DeployContext> {
  const { home, outside, mirror } = host();
  await mirror.refresh();
  const written = `cat > test.sh <<'EOF'\n${script}\nEOF\ngit add -A && git commit -qm x`;
  const { station } = await host().attack(written);
  const config = Config.parse({
    fleet: 'attack',
    repositories: { app: { url: host().origin, ...(claims ? { claims } : {}) } },
    secrets: { deploy: { env: 'TEST_DEPLOY_KEY' } },
    agents: { sh: { command: 'true' } },
    roles: {
      dev: {
        resources: ['branch:app'],
        secrets: [{ secret: 'deploy', env: 'DEPLOY_KEY' }],
        passEnv: ['SIGNALBOX_TEST_CANARY'],
        verify: [`HOST_CANARY='${outside}/canary' HOST_HOME='${home}' sh test.sh; echo the end >&2; exit 1`],
        ...role,
      },
    },
  });
  return {
    host: { config, home, sandboxes: sandboxes ?? host().sandboxes, log: () => undefined } as unknown as Host,
    mirror,
    role: 'dev',
    commit: await host().collect(station),
    task: 'p/attacker',
    signal: new AbortController().signal,
  };
}

/** What the verify command printed. */
async function verified(script: string, more: More = {}): Promise<string> {
  process.env.TEST_DEPLOY_KEY = SECRET;
  const said = (await verifyTree(await contextOf(script, more))) ?? '';
  expect(said).not.toContain(host().canary);
  return said;
}

afterEach(() => {
  delete process.env.TEST_DEPLOY_KEY;
});

describe('code of an agent that its writer runs to verify it', () => {
  attack('sees no file of the host, and not the mirror with what others have made', async () => {
    const said = await verified(`
      cat "$HOST_CANARY" "$HOST_HOME"/workstations/p/bystander/*/clone/mine; ls "$HOST_HOME" /root /home
      git for-each-ref; git -C /w/origin for-each-ref; git -C "$HOST_HOME"/mirrors/app.git log`);
    expect(said).toContain('the end');
    expect(said).not.toMatch(/refs\/signalbox|^mirrors$|^workstations$/m);
  });

  attack('changes nothing of the host, its mirror or the tree that is pushed', async () => {
    const said = await verified(`
      echo x > "$HOST_CANARY"; touch "$HOST_HOME"/planted "$HOST_HOME"/mirrors/app.git/planted /w/origin/planted
      echo x > test.sh; git commit -qam x; git push -q origin HEAD:main; git -C /w/origin update-ref refs/heads/main HEAD`);
    expect(said).toContain('the end');
    for (const name of ['planted', 'mirrors/app.git/planted'])
      expect(existsSync(join(host().home, name))).toBe(false);
  });

  attack("has neither what deploys, nor the worker's environment, nor a network", async () => {
    const said = await verified(`
      env; cat /proc/1/environ /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'
      /signalbox/node -e 'require("net").connect(3000, "127.0.0.1").on("data", (d) => console.log(String(d))).on("error", (e) => console.log(e.code))'`);
    expect(said).toMatch(/ECONNREFUSED[\s\S]*the end/);
    expect(said).not.toContain(SECRET);
    expect(said).not.toContain('DEPLOY_KEY');
  });

  attack('leaves no process behind, whatever it does', async () => {
    await verified(
      `trap '' TERM; (setsid sleep 1000 &) ; setsid sh -c 'trap "" TERM; sleep 1000 & sleep 1000' & sleep 0.2`,
    );
    expect(markedProcesses((marker) => marker.startsWith(join(host().home, 'writers')))).toEqual([]);
  });

  attack('writes no more than it may, and takes no more memory', async () => {
    expect(
      await verified(
        'i=0; while [ $i -lt 400 ]; do head -c 1000000 /dev/zero > f$i; i=$((i+1)); done; sleep 20',
        {
          role: { verifyIn: { disk: '50MB' }, verifyTimeout: '60s' },
        },
      ),
    ).toMatch(/it wrote .* of 50MB/);
    const said = await verified(
      '/signalbox/node -e "const all = []; for (;;) all.push(Buffer.alloc(10000000, 1))"; echo "code $?"',
      { role: { verifyIn: { memory: '200MB' } } },
    );
    expect(said).not.toContain('code 0');
  });

  attack('gets what verifyIn names, and that is kept out of what is told', async () => {
    const said = await verified('echo "with $KEY"; cat "$DEPLOY_FILE"', {
      role: {
        verify: ['sh test.sh', 'sh test.sh; exit 1'],
        verifyIn: {
          secrets: [
            { secret: 'deploy', env: 'KEY' },
            { secret: 'deploy', file: 'cert' },
          ],
        },
      },
    });
    expect(said).toMatch(/with \[redacted\]\n\[redacted\]/);
  });

  attack('makes generated files anew in a sandbox too, where links lead nowhere', async () => {
    const claims = {
      generated: [{ paths: ['gen'], regenerate: 'sh test.sh' }],
    };
    const canary = `'${host().outside}/canary'`;
    const made = async (script: string) =>
      await regenerate(await contextOf(script, { claims }), new Map([[0, []]]));
    const one = await made(
      `mkdir gen; cat ${canary} > gen/stolen; cp -r /w/home gen/home; echo own > gen/own; true`,
    );
    expect(one).toMatchObject({
      kind: 'regenerated',
      paths: expect.arrayContaining(['gen/own', 'gen/stolen']),
    });
    const show = (path: string) =>
      host().git(['--git-dir', host().mirror.dir, 'show', `${(one as { commit: string }).commit}:${path}`]);
    expect([show('gen/own'), show('gen/stolen')]).toEqual(['own', '']);
    expect(await made(`mkdir gen; ln -s ${canary} gen/link`)).toMatchObject({
      kind: 'failed',
      text: expect.stringMatching(/^what was made may not land: gen\/link is a link to /),
    });
    expect(await made(`ln -s '${host().outside}' gen`)).toMatchObject({ kind: 'failed' });
  });

  attack('tells what failed: its own output alone, in its order, and what its sandbox lacks', async () => {
    const said = await verified(
      'echo first; echo second >&2; for i in 1 2 3; do echo out $i; echo err $i >&2; done; echo last >&2',
      {
        role: { verify: ['echo noise; true', 'sh test.sh; exit 3'] },
      },
    );
    expect(said).toBe(
      'verify `sh test.sh; exit 3`: exit code 3\nfirst\nsecond\nout 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\nlast',
    );
    const lost = await verified('echo "getaddrinfo EAI_AGAIN registry.example.com" >&2; exit 1', {
      role: { verify: ['sh test.sh'] },
    });
    expect(lost).toContain('exit code 1 (it has no network: see `verifyIn.network` of role dev)\n');
    const absent = await verified('true', { role: { verifyIn: { sees: ['/nowhere/at/all'] } } });
    expect(absent).toBe(
      'verify: its sandbox could not be made: this host has no /nowhere/at/all, which `sees` names',
    );
  });

  it('is refused where there is no sandbox, with what is missing', async () => {
    if (!host()) return;
    const context = await contextOf('true', { sandboxes: { missing: 'bubblewrap is not installed' } });
    expect(await verifyTree(context)).toBe('verify: there is no sandbox for it: bubblewrap is not installed');
  });
});
