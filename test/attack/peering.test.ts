// What a task that looks can do with the snapshot of another's tree, and what that other one can put into it: through the code that
// makes snapshots for agents. Each case was seen to fail with its defence taken out; the list is in defences.txt beside this
// file.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, lstatSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { PeerSource } from '../../activities/peer-source.js';
import { type AskGranted, Peers } from '../../activities/peers.js';
import { identityOf, isAlive, type ProcessIdentity } from '../../activities/processes.js';
import { workstationDir, writeRecord } from '../../activities/workstation/record.js';
import type { Workstation } from '../../activities/workstation/station.js';
import type { Peer } from '../../src/domain/peering-grants.js';
import { attack, attackedHost, isRoot, until } from '../support/attacker.js';

const host = attackedHost();

const PEER: Peer = { task: 'p/owner', as: 'code', from: 'worktree' };

interface Running {
  station: Workstation;
  processes: ProcessIdentity[];
  /** Tells it to end, and gives what it printed. */
  end(): Promise<string>;
}

/** An agent at work in a workstation of its own; `ready` is in its result folder once it has done the script. */
async function runs(task: string, script: string, station?: Workstation): Promise<Running> {
  const own = station ?? (await host().station(task));
  const processes: ProcessIdentity[] = [];
  const ended = host().runIn(
    own,
    `${script}\ntouch /w/result/ready\nuntil test -e /w/result/stop; do sleep 0.05; done`,
    { onStart: (found) => processes.push(...found) },
  );
  await until(`${task} to be ready`, () => existsSync(join(own.resultDir, 'ready')));
  return {
    station: own,
    processes,
    end: async () => {
      writeFileSync(join(own.resultDir, 'stop'), '');
      return (await ended).output;
    },
  };
}

/** The owner, at work and on record as one of this host's. */
async function owner(script: string): Promise<Running> {
  const running = await runs('p/owner', script);
  const [epoch = 0, number = 0] = running.station.dir.split('/').at(-1)?.split('.').map(Number) ?? [];
  const fence = { epoch, number };
  expect(workstationDir(host().home, 'p/owner', fence)).toBe(running.station.dir);
  await writeRecord(running.station.dir, {
    task: 'p/owner',
    repository: 'app',
    fence,
    base: await host().mirror.refresh(),
    ...(running.station.uid === undefined ? {} : { uid: running.station.uid }),
    checkout: true,
    worker: identityOf(process.pid),
    processes: running.processes,
  });
  return running;
}

const source = () =>
  new PeerSource(
    {
      home: host().home,
      mirrors: new Map([['app', host().mirror]]),
      sandboxes: host().sandboxes,
      log: () => undefined,
    },
    { outcomes: async () => [], runs: async () => false },
  );

/** What the workflow of the task that looks would say. */
const grants = (...peers: Peer[]) => {
  const said = { granted: true, asked: 0 };
  const ask: AskGranted = async () => {
    said.asked += 1;
    return (peers.length > 0 ? peers : [PEER]).map((peer) => ({
      ...peer,
      granted: said.granted,
      text: 'nobody lets it see that',
    }));
  };
  return { said, ask };
};

function peersOf(station: Workstation, ask: AskGranted, ...peers: Peer[]): Peers {
  const { shared, aside } = station.peering ?? { shared: undefined, aside: '' };
  return new Peers(
    { log: () => undefined },
    source(),
    { task: 'p/looks', peers: peers.length > 0 ? peers : [PEER], shared, aside },
    ask,
  );
}

const shared = ({ dir }: Workstation) => join(dir, 'shared');
const forever = new AbortController().signal;

/** Everything below a folder, with kind and mode. */
const listed = (folder: string): string[] =>
  execFileSync('find', [folder, '-mindepth', '1', '-printf', '%P %y %m\n'], { encoding: 'utf8' })
    .split('\n')
    .filter(Boolean)
    .sort();

describe('what an agent sees of another’s tree', () => {
  attack('is nothing at all while nobody lets it', async () => {
    const own = await owner('echo secret > src/own.txt');
    const station = await host().station('p/looks');
    const { said, ask } = grants();
    said.granted = false;
    const peers = peersOf(station, ask);
    await peers.begin(forever);
    expect(await peers.refresh(['code'])).toEqual({ answer: 'refused', text: 'nobody lets it see that' });
    expect(await peers.refresh([])).toMatchObject({ answer: 'refused' });
    const { output } = await host().runIn(
      station,
      `ls -A "$SIGNALBOX_SHARED"; cat "$SIGNALBOX_SHARED"/code/src/own.txt "$HOST_HOME"/workstations/p/owner/*/clone/src/own.txt; ls /w/peering; echo the end`,
    );
    await peers.close();
    expect(output).toContain('the end');
    expect(output).not.toContain('secret');
    expect(listed(shared(station))).toEqual([]);
    await own.end();
  });

  attack('cannot be written, replaced, moved or mounted over, and leads to no tree', async () => {
    const own = await owner('echo own > src/own.txt');
    const station = await host().station('p/looks');
    const peers = peersOf(station, grants().ask);
    await peers.begin(forever);
    const before = listed(shared(station));
    const { output } = await host().runIn(
      station,
      `S="$SIGNALBOX_SHARED"; cat $S/code/src/own.txt
      try() { "$@" 2>/dev/null && echo "DID $*"; }
      for f in $S/new $S/code/new $S/code/src/own.txt $S/code.manifest.json; do (echo x > $f) 2>&1; done
      try rm -rf $S/code; try mv $S/code $S/other; try mv $S /w/other; try rmdir $S; try ln -s / $S/link; try ln -sfn / $S/code; try mkdir $S/code/dir
      try chmod -R 777 $S; try chmod 666 $S/code/src/own.txt; try chown 0:0 $S/code; try touch -d 2001-01-01 $S/code/src/own.txt; try truncate -s 0 $S/code/src/own.txt
      try mount -o remount,rw $S; try mount --bind /tmp $S/code; try mknod $S/fifo p; try ln $S/code/src/own.txt /w/home/own; try ln $S/code/src/own.txt $S/twin
      "$NODE" -e 'try { require("fs").writeFileSync("/proc/self/cwd/x", "x"); console.log("DID cwd") } catch (e) { console.log(e.code) }; process.chdir("/w/.shared/code"); try { require("fs").writeFileSync("y", "y"); console.log("DID y") } catch (e) { console.log(e.code) }' 
      cat $S/code/src/own.txt; echo the end`,
    );
    expect(output).toContain('the end');
    expect(output.match(/^DID (?!cwd).*/gm)).toBeNull();
    expect(output.match(/Read-only file system/g)).toHaveLength(4);
    expect(output).toContain('EROFS');
    expect(output.match(/^own$/gm)).toHaveLength(2);
    expect(listed(shared(station))).toEqual(before);
    const snapshot = join(shared(station), 'code', 'src', 'own.txt');
    const original = join(own.station.dir, 'clone', 'src', 'own.txt');
    expect(lstatSync(snapshot).nlink).toBe(1);
    expect(lstatSync(snapshot).ino).not.toBe(lstatSync(original).ino);
    expect(readFileSync(original, 'utf8')).toBe('own\n');
    await peers.close();
    await own.end();
  });

  attack('is not where it planted a link or a folder of that name', async () => {
    const own = await owner('echo own > src/own.txt');
    const station = await host().station('p/looks');
    symlinkSync(host().outside, join(station.dir, 'clone', '.shared'));
    symlinkSync(host().outside, join(station.dir, 'home', '.shared'));
    const { said, ask } = grants();
    said.granted = false;
    const peers = peersOf(station, ask);
    await peers.begin(forever);
    const running = await runs(
      'p/looks',
      'ln -sfn "$HOST_HOME" /w/result/.shared; rm -rf /w/requests/code; ln -s / /w/requests/code; ls -la /w/repo/.shared',
      station,
    );
    said.granted = true;
    expect(await peers.refresh(['code'])).toMatchObject({ answer: 'refreshed' });
    expect(readdirSync(host().outside)).toEqual(['canary']);
    expect(lstatSync(join(station.dir, 'clone', '.shared')).isSymbolicLink()).toBe(true);
    expect(readdirSync(shared(station)).sort()).toEqual(['code', 'code.manifest.json']);
    await running.end();
    await peers.close();
    await own.end();
  });

  attack(
    'appears whole or not at all, however often it is made anew, and nothing is seen of the making',
    async () => {
      const FILES = 150;
      const own = await owner(`mkdir many; for i in $(seq ${FILES}); do echo $i > many/$i; done`);
      const station = await host().station('p/looks');
      const { said, ask } = grants();
      said.granted = false;
      const peers = peersOf(station, ask);
      await peers.begin(forever);
      const running = await runs(
        'p/looks',
        `(while ! test -e /w/result/stop; do
        ls -A "$SIGNALBOX_SHARED" | grep -v -x -e code -e 'code[.]manifest[.]json.*'
        n=$(ls "$SIGNALBOX_SHARED"/code/many 2>/dev/null | wc -l); m=$(ls "$SIGNALBOX_SHARED"/code/many 2>/dev/null | wc -l)
        if test $n = $m && test $n != 0 && test $n != ${FILES}; then echo "PART $n"; fi; echo "SAW $n"; done) > /w/result/saw 2>&1 &`,
        station,
      );
      said.granted = true;
      for (let i = 0; i < 6; i++) expect(await peers.refresh([])).toMatchObject({ answer: 'refreshed' });
      const saw = join(station.resultDir, 'saw');
      await until('it to see them all', () => readFileSync(saw, 'utf8').includes(`SAW ${FILES}`));
      await running.end();
      expect(readFileSync(saw, 'utf8').match(/^(?!SAW).+$/gm)).toBeNull();
      await peers.close();
      await own.end();
    },
  );

  attack('is gone when it is taken back, for one that reads it and stands in it as well', async () => {
    const own = await owner('echo own > src/own.txt');
    const station = await host().station('p/looks');
    const { said, ask } = grants();
    const peers = peersOf(station, ask);
    await peers.begin(forever);
    const running = await runs(
      'p/looks',
      `cd "$SIGNALBOX_SHARED"/code/src; (while ! test -e /w/result/stop; do
        (cat own.txt /proc/self/cwd/own.txt ../src/own.txt "$SIGNALBOX_SHARED"/code/src/own.txt; ls -A "$SIGNALBOX_SHARED" .. .) > /w/result/next 2>/dev/null; echo looked >> /w/result/next
        ls -dA ../../* ../../../* ../../../../* ../../../../../* ../*/*/../../../* 2>/dev/null | grep -E 'prompt.md|clone|answers|mirrors' >> /w/result/out
        mv /w/result/next /w/result/saw; sleep 0.05; done) &`,
      station,
    );
    const file = join(station.resultDir, 'saw');
    const saw = () => (existsSync(file) ? readFileSync(file, 'utf8') : '');
    await until('it to read', () => saw().includes('own\nown\nown\nown\n'));
    said.granted = false;
    await until('it to be gone', () => !/own|code/.test(saw()), 10_000);
    expect(listed(shared(station))).toEqual([]);
    expect(await peers.refresh(['code'])).toMatchObject({ answer: 'refused' });
    // From where it stood, moved away below its feet, no way leads up into the workstation's own folder.
    for (let i = 0; i < 5; i++) {
      said.granted = i % 2 === 0;
      await peers.refresh([]);
    }
    await running.end();
    expect(new Set(readFileSync(join(station.resultDir, 'out'), 'utf8').trim().split('\n'))).toEqual(
      new Set(['../../../prompt.md', '../../../answers']),
    );
    await peers.close();
    expect(readdirSync(station.peering?.aside ?? '').filter((name) => name !== '.work')).toEqual([]);
    await own.end();
  });

  attack('is not shown when it is taken back while it is being made', async () => {
    const own = await owner('mkdir many; for i in $(seq 300); do echo $i > many/$i; done');
    const station = await host().station('p/looks');
    const { said, ask } = grants();
    const peers = peersOf(station, ask);
    const begun = peers.begin(forever);
    await until('it to be asked', () => said.asked > 0);
    said.granted = false;
    // The next look hears of it while the copier is at work.
    const refused = await peers.refresh(['code']);
    await begun;
    expect(refused.answer).toBe('refused');
    expect(listed(shared(station))).toEqual([]);
    await peers.close();
    await own.end();
  });
});

describe('what an agent puts into its tree', () => {
  attack('comes to no peer as a link, a pipe, a device, a socket, or with rights', async () => {
    const own = await owner(`
      echo plain > plain.txt; echo tool > tool.sh; chmod 4755 tool.sh; echo g > group.txt; chmod 2664 group.txt; mkdir -m 3777 sticky; echo s > sticky/s.txt
      ln -s "$HOST_CANARY" link; ln -s "$HOST_HOME" dirlink; ln -s ../../../../../../../../../../../etc hostetc; ln -s plain.txt rel; ln plain.txt twin
      mkfifo pipe; "$NODE" -e 'require("net").createServer().listen("sock"); setTimeout(() => process.kill(process.pid, 9), 100)'
      echo TOKEN > .env; echo KEY > .ENV.local; mkdir -p .ssh; echo k > .ssh/k; printf 'a' > "$(printf 'a\\nb')"; mkdir .shared; echo passed > .shared/on`);
    if (isRoot) execFileSync('mknod', [join(own.station.dir, 'clone', 'disk'), 'b', '8', '0']);
    const station = await host().station('p/looks');
    const peers = peersOf(station, grants().ask);
    await peers.begin(forever);
    const { output } = await host().runIn(
      station,
      'cd "$SIGNALBOX_SHARED/code" && cat $(find . -type f); find / -xdev -perm /7000 -path "/w/*" 2>/dev/null; echo the end',
    );
    expect(output).toContain('tool\n');
    expect(output).not.toMatch(/TOKEN|KEY|passed/);
    expect(listed(join(shared(station), 'code'))).toEqual([
      '.gitignore f 444',
      'README.md f 444',
      'group.txt f 444',
      'src d 555',
      'src/a.txt f 444',
      'sticky d 555',
      'sticky/s.txt f 444',
      'tool.sh f 555',
    ]);
    const manifest = JSON.parse(readFileSync(join(shared(station), 'code.manifest.json'), 'utf8')) as {
      counts: Record<string, number>;
    };
    expect(manifest.counts).toMatchObject({
      'symbolic link': 4,
      'hard link': 2,
      'special file': isRoot ? 3 : 2,
      'control character': 1,
      '.env*': 2,
      '.git': 1,
      '.ssh': 1,
      '.shared': 1,
    });
    await peers.close();
    await own.end();
  });

  attack(
    'leads the copier nowhere else while it is swapped for links, and costs no agent its life',
    async () => {
      const own = await owner(`
      mkdir d real; echo inner > d/canary; echo inner > real/canary
      (while :; do mv d e; ln -s "$HOST_HOME"/../outside d; rm d; ln -s /etc d; rm d; mv e d; mv d/canary d/c; ln -s "$HOST_CANARY" d/canary; rm d/canary; mv d/c d/canary; done) 2>/dev/null &`);
      const station = await host().station('p/looks');
      const peers = peersOf(station, grants().ask);
      await peers.begin(forever);
      const running = await runs('p/looks', ':', station);
      for (let i = 0; i < 15; i++) {
        await peers.refresh(['code']);
        const { status, stdout } = spawnSync(
          'grep',
          ['-rl', '-e', host().canary, '-e', 'root:', shared(station)],
          {
            encoding: 'utf8',
          },
        );
        expect([status, stdout], 'finds nothing').toEqual([1, '']);
      }
      expect([...own.processes, ...running.processes].every(isAlive)).toBe(true);
      await running.end();
      await peers.close();
      await own.end();
    },
  );

  attack('that it has committed comes to a peer without git being run on its clone outside', async () => {
    const peer: Peer = { ...PEER, from: 'commit' };
    const own = await owner(`
      git config core.fsmonitor 'echo hooked >> "$HOST_HOME"/hooked'; git config filter.x.smudge 'cat "$HOST_CANARY"'; git config core.hooksPath /w/repo/hooks
      mkdir hooks; printf '#!/bin/sh\\ncat "$HOST_CANARY"\\n' > hooks/post-checkout; chmod 755 hooks/*; echo '* filter=x' > .gitattributes
      echo committed > src/new.txt; ln -s "$HOST_CANARY" src/link; git -c core.fsmonitor=false add -A; git -c core.fsmonitor=false -c core.hooksPath=/dev/null commit -qm x; echo later > src/new.txt`);
    const station = await host().station('p/looks');
    const live: Peer = { ...PEER, as: 'live' };
    const peers = peersOf(station, grants(peer, live).ask, peer, live);
    await peers.begin(forever);
    const { output } = await host().runIn(station, 'cat "$SIGNALBOX_SHARED"/*/src/new.txt');
    expect(output, 'both at once, each its own').toBe('committed\nlater\n');
    expect(existsSync(join(host().home, 'hooked'))).toBe(false);
    expect(listed(join(shared(station), 'code')).filter((line) => line.includes('link'))).toEqual([]);
    await peers.close();
    await own.end();
  });
});
