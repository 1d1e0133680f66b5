// What an agent does with processes. Each case was seen to fail with its defence taken out; the list is in defences.txt
// beside this file.

import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { markedProcesses } from '../../activities/processes.js';
import { findProgram } from '../../activities/sandbox/host.js';
import { keyringFilter } from '../../activities/sandbox/syscalls.js';
import { workstationDir } from '../../activities/workstation/record.js';
import { attack, attackedHost, isRoot, probe, RULES, until } from '../support/attacker.js';

const host = attackedHost();
const grouped = 'sandbox' in probe && probe.sandbox.cgroup !== undefined;
const inStation = (dir: string) => markedProcesses((marker) => marker === dir);

/** Threads of this user's, as the kernel counts them. */
function ownThreads(): number {
  const status = (pid: string) => {
    try {
      return readFileSync(`/proc/${pid}/status`, 'utf8');
    } catch {
      return '';
    }
  };
  const own = new RegExp(`^Uid:\\t${process.getuid?.()}\\t`, 'm');
  const ours = readdirSync('/proc')
    .map((pid) => (/^\d+$/.test(pid) ? status(pid) : ''))
    .filter((text) => own.test(text));
  return ours.reduce((sum, text) => sum + Number(/^Threads:\t(\d+)/m.exec(text)?.[1] ?? 0), 0);
}

/** Leaves its session and its parents, and does not end when it is told to. */
const CLINGS = `trap "" TERM HUP INT; (setsid sh -c 'trap "" TERM HUP INT; (while :; do sleep 0.05; echo x >> /w/home/alive; done) & while :; do sleep 0.05; done' &) ; nohup sleep 1000 >/dev/null 2>&1 &`;

describe('nothing is left of an agent', () => {
  attack('that forks twice, leaves its session and ignores SIGTERM, when it is cancelled', async () => {
    const began = performance.now();
    const { station, signal } = await host().attack(`${CLINGS} echo ready; while :; do sleep 1; done`, {
      endAt: 'ready',
    });
    expect(performance.now() - began).toBeLessThan(6_000);
    expect(signal).toBe('SIGKILL');
    expect(inStation(station.dir)).toEqual([]);
  });

  attack('that ends by itself and leaves such processes', async () => {
    const { station, exitCode } = await host().attack(`${CLINGS} exit 7`);
    expect(exitCode).toBe(7);
    expect(inStation(station.dir)).toEqual([]);
  });

  attack('whose worker is killed with SIGKILL', async () => {
    const dir = workstationDir(host().home, 'p/orphan', { epoch: 1, number: 900 });
    const { origin, home } = host();
    const script = `${CLINGS} echo ready; while :; do sleep 1; done`;
    const order = JSON.stringify({
      origin,
      home,
      dir,
      rules: { ...RULES, network: { allow: ['a.example'], keys: [] } },
      script,
    });
    const worker = spawn(process.execPath, [resolve('test/support/attacked-worker.mjs'), order]);
    let said = '';
    for (const stream of [worker.stdout, worker.stderr]) stream.on('data', (chunk) => (said += chunk));
    await until(`the agent runs: ${said}`, () => said.includes('ready'));
    expect(inStation(dir).length).toBeGreaterThan(isRoot ? 0 : 1);
    const alive = join(dir, 'home', 'alive');
    await until('its stray processes run', () => existsSync(alive));
    worker.kill('SIGKILL');
    await until('all of it to be gone', () => inStation(dir).length === 0, 5_000);
    const { size } = statSync(alive);
    await new Promise((done) => setTimeout(done, 300));
    expect(statSync(alive).size).toBe(size);
  });
});

describe('what an agent takes of its host', () => {
  attack('a fork bomb stops at its limit, and leaves room for others', async () => {
    // Without groups of limits the kernel counts all of the user's processes, the worker's own too.
    const processes = grouped || isRoot ? 64 : 64 + ownThreads();
    const { output } = await host().attack(
      `"$NODE" -e '
        const { spawn } = require("child_process");
        let running = 0;
        const go = (n) => { if (n === 0) { console.log("running " + running); process.exit(); }
          const child = spawn("sleep", ["100"]); child.on("spawn", () => running++); child.on("error", () => undefined); setImmediate(go, n - 1); };
        go(400);'; (bomb() { bomb | bomb & }; bomb) 2>/dev/null; sleep 0.5; echo over`,
      { rules: { processes }, endAt: 'over', graceMs: 100 },
    );
    const running = Number(/running (\d+)/.exec(output)?.[1]);
    expect(running).toBeGreaterThan(5);
    expect(running).toBeLessThan(processes);
  });

  attack("its processes are counted by themselves, not with all that the worker's user has", async () => {
    const others = Array.from({ length: 80 }, () => spawn('sleep', ['1000'], { stdio: 'ignore' }));
    try {
      const few = { rules: { processes: 64 } };
      const { exitCode, output } = await host().attack(
        'for i in 1 2 3 4 5 6 7 8; do sleep 0.2 & done; wait; echo all',
        few,
      );
      expect([exitCode, output]).toEqual([0, 'all\n']);
    } finally {
      for (const other of others) other.kill('SIGKILL');
    }
  });

  attack('memory: a bomb of one process or of many is ended', async () => {
    const eat = `"$NODE" -e 'const all = []; for (let i = 0; i < 60; i++) { all.push(Buffer.alloc(10e6, 1)); } console.log("ate it all")'`;
    const one = await host().attack(`${eat}; echo went on`, { rules: { memory: 300_000_000 } });
    expect(one.output).not.toContain('ate it all');
    if (!grouped) return;
    const some = eat
      .replace('60', '15')
      .replace('console.log("ate it all")', 'setTimeout(() => console.log("ate it all"), 3000)');
    const many = await host().attack(`for i in 1 2 3 4; do ${some} & done; wait`, {
      rules: { memory: 300_000_000 },
    });
    expect(many.output.split('ate it all').length - 1).toBeLessThan(3);
    expect(many.outOfMemory).toBeGreaterThan(0);
  });

  attack('/tmp and /dev/shm hold what they are given and no more', async () => {
    const { output } = await host().attack(
      'for f in /tmp /dev/shm; do head -c 50M /dev/zero > $f/big; stat -c "%n %s" $f/big; rm $f/big; done 2>&1; truncate -s 1T /tmp/sparse; dd if=/dev/zero of=/tmp/sparse bs=1M count=50 seek=1000 conv=notrunc 2>&1 | tail -1',
      { rules: { temporary: 4 << 20, memory: 300_000_000 } },
    );
    const sizes = [...output.matchAll(/big (\d+)$/gm)].map(([, size]) => Number(size));
    expect(sizes).toHaveLength(2);
    for (const size of sizes) expect(size).toBeLessThanOrEqual(4 << 20);
    expect(output).toMatch(/No space left/);
  });
});

describe('what an agent does to others', () => {
  attack('it sees and signals none but its own processes', async () => {
    const neighbour = String(process.pid);
    const { output } = await host().attack(
      `ls -d /proc/[0-9]* | wc -l; for p in ${neighbour} ${process.ppid} $(seq 2 400); do [ $p = $$ ] || kill -0 $p 2>/dev/null && [ ! -e /proc/$p ] && echo "SIGNALLED $p"; done; kill -9 -1; echo survived`,
    );
    expect(output).not.toContain('SIGNALLED');
    expect(Number(/^\s*(\d+)/.exec(output)?.[1])).toBeLessThan(8);
  });

  attack(
    'it finds nothing in the first process of its sandbox, and what stops that one ends all the same',
    async () => {
      const memory = `open my $maps, "<", "/proc/1/maps"; open my $mem, "<", "/proc/1/mem"; while (<$maps>) { /^(w+)-(w+) r/ or next; sysseek $mem, hex $1, 0; sysread $mem, my $bytes, hex($2) - hex($1); print $bytes if defined $bytes } print "\nread it\n"`;
      const { output, signal } = await host().attack(
        `perl -e '${memory}'; kill -STOP 1; perl -e 'syscall(${process.arch === 'x64' ? 101 : 117}, 16, 1, 0, 0); print "traced: $!\n"; $| = 1; sleep 1000'`,
        { endAt: 'traced' },
      );
      expect(output).toContain('traced');
      expect(output).not.toMatch(/TEST_CANARY|VITEST/);
      expect(signal).toBe('SIGKILL');
    },
  );

  attack('it has a user id of its own, which no account and no other workstation has', async () => {
    const { output, station } = await host().attack(
      'id -u; cat /proc/self/uid_map; id -G; touch /w/home/mine',
    );
    expect(output).toMatch(/^1000\n\s+1000\s+\d+\s+1\n(1000\n|1000 .*65534.*\n)/);
    const { uid } = statSync(join(station.dir, 'home', 'mine'));
    expect(uid).toBe(isRoot ? station.uid : process.getuid?.());
    if (isRoot) expect((await host().station('p/attacker')).uid).not.toBe(uid);
    if (isRoot) expect(readFileSync('/etc/passwd', 'utf8')).not.toContain(`:${uid}:`);
  });

  attack('shared memory, semaphores and queues are its own', async () => {
    const own = (n: number) =>
      `perl -e 'my $id = shmget(${n}, 1000, 0666 | 01000); print "shm $id\\n"; shmwrite($id, "left here", 0, 9)'; ls /dev/shm /dev/mqueue; cat /proc/sysvipc/shm | wc -l`;
    const first = await host().attack(`${own(77)}; echo x > /dev/shm/left; echo made`);
    expect(first.output).toContain('made');
    const second = await host().attack(
      `cat /proc/sysvipc/shm; ls /dev/shm; perl -e 'print defined(shmget(77, 1000, 0)) ? "SHARED\\n" : "none\\n"'`,
    );
    expect(second.output).toContain('none');
    expect(second.output).not.toMatch(/SHARED|left/);
  });

  attack('the keyrings of the worker’s session are not its', async () => {
    const [add, keyctl] = process.arch === 'x64' ? [248, 250] : [217, 219];
    const dir = workstationDir(host().home, 'p/orphan', { epoch: 1, number: 901 });
    const { origin, home } = host();
    const read = `syscall(${keyctl}, 11, syscall(${add + 1}, my $t = "user", my $d = "key", 0, 0), my $b = " " x 64, 64)`;
    const script = `perl -e 'my $n = ${read}; print "read $n $b $!\\n"; print "left " . syscall(${add}, $t, my $e = "left", my $v = "x", 1, -3) . "\\n"'; echo the end`;
    const order = JSON.stringify({ origin, home, dir, rules: RULES, script });
    const join_ = `syscall(${keyctl}, 1, 0); syscall(${add}, my $t = "user", my $d = "key", my $v = "${host().canary}", ${host().canary.length}, -3) > 0 or print "no keyrings here\\n"; exec @ARGV`;
    const worker = spawn('perl', [
      '-e',
      join_,
      process.execPath,
      resolve('test/support/attacked-worker.mjs'),
      order,
    ]);
    let said = '';
    for (const stream of [worker.stdout, worker.stderr]) stream.on('data', (chunk) => (said += chunk));
    await new Promise((done) => worker.once('close', done));
    expect(said).toContain('the end');
    expect(said).not.toContain(host().canary);
    if (keyringFilter()) expect(said).toContain('left -1');
  });
});

describe('an agent gains no rights', () => {
  attack('by programs that are set-uid, for they give it none', async () => {
    const su = findProgram('su') ?? findProgram('mount') ?? '/bin/su';
    const { output } = await host().attack(
      `grep -E "NoNewPrivs|CapEff|CapBnd|CapPrm" /proc/self/status; ls -ln ${su}; su -c id < /dev/null; cp /bin/sh /w/home/sh; chmod 4755 /w/home/sh; /w/home/sh -p -c "id -u"; cp /bin/sh /tmp/sh && chmod 6777 /tmp/sh; chown 0:0 /tmp/sh && echo CHOWNED; /tmp/sh -p -c "id -u"`,
    );
    expect(output).toMatch(/NoNewPrivs:\s+1/);
    for (const set of ['CapEff', 'CapPrm', 'CapBnd'])
      expect(output).toMatch(new RegExp(`${set}:\\s+0+$`, 'm'));
    expect(output).not.toMatch(/uid=0|CHOWNED|^0$/m);
  });

  attack('in namespaces of its own, for it can make none', async () => {
    const { output } = await host().attack(
      'unshare -U id -u && echo NESTED; unshare -r sh -c "mount -t tmpfs x /tmp" && echo NESTED; unshare -n true && echo NESTED; unshare -m true && echo NESTED; unshare -p true && echo NESTED; bwrap --unshare-user --ro-bind / / true && echo NESTED; nsenter -t 1 -m true && echo NESTED; chroot /w/home true && echo NESTED; cat /proc/sys/user/max_user_namespaces; echo 100 > /proc/sys/user/max_user_namespaces && echo NESTED; echo the end',
    );
    expect(output).toContain('the end');
    expect(output).not.toContain('NESTED');
  });

  it('and the filter of system calls is the one for this processor', () => {
    expect(keyringFilter('x64')?.length).toBe(8 * (2 * 3 + 2 + 3 * 2 * 2 + 2 + 1));
    expect(keyringFilter('mips')).toBeUndefined();
  });
});
