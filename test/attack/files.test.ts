// What an agent reads and writes of its host. Each case was seen to fail with its defence taken out; the list is in
// defences.txt beside this file.

import { existsSync, lstatSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { removeWorkstation } from '../../activities/workstation/record.js';
import { AttackedHost, attack, attackedHost, isRoot } from '../support/attacker.js';

const host = attackedHost();

describe('what an agent sees of its host', () => {
  attack('no file outside its workstation, by path or through /proc', async () => {
    const { output } = await host().attack(`
      cat "$HOST_CANARY"; ls "$HOST_HOME"; ls /root /home /mnt /var /run /sys /boot /srv /media 2>&1
      find / -xdev -name canary 2>/dev/null
      for p in /proc/[0-9]*; do cat $p/root"$HOST_CANARY" $p/cwd/../../../../../../..$HOST_CANARY; done
      for fd in /proc/self/fd/* /proc/1/fd/*; do cat $fd/../canary; done
      ls /; ls /etc; echo the end`);
    expect(output).toContain('the end');
    expect(output).not.toMatch(
      /^(shadow|ssh|sudoers|machine-id|ssh_host\w*|root|home|var|run|boot|srv|mnt|sys)$/m,
    );
  });

  attack('no clone, secret or result of another agent, and not the mirror', async () => {
    const { output } = await host().attack(`
      ls -R /w; cat /w/*/mine /w/../*/clone/mine "$HOST_HOME"/workstations/p/bystander/*/clone/mine
      git -C "$HOST_HOME"/mirrors/app.git log; git -C /w/origin for-each-ref; echo the end`);
    expect(output).toContain('the end');
    expect(output).not.toContain('refs/signalbox');
  });

  attack('no environment and no arguments but its own', async () => {
    const { output } = await host().attack(
      'env; cat /proc/1/environ /proc/[0-9]*/environ /proc/[0-9]*/task/*/environ | tr "\\0" "\\n"; cat /proc/1/cmdline /proc/[0-9]*/cmdline | tr "\\0" "\\n"; echo the end; ls -d /proc/[0-9]* | wc -l',
      { env: { OWN: 'visible' } },
    );
    expect(output).toContain('OWN=visible');
    expect(output).not.toMatch(/TEST_CANARY|HIDDEN_|--ro-bind|vitest/);
    expect(Number(/the end\n\s*(\d+)/.exec(output)?.[1])).toBeLessThan(8);
  });

  attack('not what the host is called, nor its accounts', async () => {
    const { output } = await host().attack(
      'hostname; cat /proc/sys/kernel/hostname /etc/hostname; cat /etc/passwd',
    );
    expect(output.split('\n').slice(0, 3)).toEqual(['workstation', 'workstation', 'workstation']);
    if (hostname() !== 'workstation') expect(output).not.toContain(hostname());
  });

  attack('a secret file that it alone can read, and nobody can change', async () => {
    const { output, station } = await host().attack(
      'cat "$KEY_FILE"; chmod 666 "$KEY_FILE"; echo x > "$KEY_FILE"; rm -f "$KEY_FILE"; mv /w/secrets /w/s; ln -sf /etc/passwd "$KEY_FILE"; env | grep -c own-secret; exit 0',
      { secrets: [{ name: 'key', variable: 'KEY_FILE', value: 'own-secret' }] },
    );
    expect(output.startsWith('own-secret')).toBe(true);
    expect(output).toMatch(/^0$/m);
    const file = join(station.dir, 'secrets', 'key');
    expect(readFileSync(file, 'utf8')).toBe('own-secret');
    expect(lstatSync(file).mode & 0o777).toBe(0o400);
    expect(lstatSync(join(station.dir, 'secrets')).mode & 0o777).toBe(0o700);
    const own = lstatSync(join(host().home, 'workstations/p/bystander/1.1/clone')).uid;
    if (isRoot) expect(lstatSync(file).uid).not.toBe(own);
  });
});

describe('what an agent changes of its host', () => {
  attack('nothing of the system, the kernel, the devices or the root folder', async () => {
    const { output } = await host().attack(`
      for f in / /w /dev /usr /usr/bin /etc /bin /signalbox /signalbox/dist /opt /proc /proc/sys/kernel /sys "$HOST_HOME" /w/origin /w/answers; do
        (echo x > $f/planted) 2>/dev/null && echo "WROTE $f"; done
      for f in /proc/sys/kernel/hostname /proc/sys/kernel/domainname /proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches /proc/sys/net/ipv4/ip_forward \\
        /proc/sys/kernel/ns_last_pid /proc/sysrq-trigger /etc/passwd /etc/hosts /w/prompt.md /signalbox/node /signalbox/bin/signalbox /w/origin/config; do
        (echo 0 > $f) 2>/dev/null && echo "WROTE $f"; done
      for f in /dev/sda /dev/vda /dev/mem /dev/kmsg /dev/kvm /dev/loop-control /dev/fuse /proc/kcore; do (head -c1 $f) >/dev/null 2>&1 && echo "READ $f"; done
      mknod /tmp/disk b 8 0 && echo MADE; mknod /w/home/disk b 8 0 && echo MADE
      mount -t tmpfs x /tmp && echo MOUNTED; mount -o remount,rw / && echo MOUNTED; mount -o remount,rw /usr && echo MOUNTED; umount /proc && echo MOUNTED
      hostname attacked && echo NAMED; echo the end`);
    expect(output.match(/^(WROTE|READ|MADE|MOUNTED|NAMED).*/gm)).toBeNull();
    expect(output).toContain('the end');
  });

  attack('nothing of its own workstation’s frame: what is mounted cannot be moved or replaced', async () => {
    const { output, station } = await host().attack(`
      for f in repo home result requests answers origin .shared prompt.md; do
        mv /w/$f /w/gone 2>/dev/null && echo "MOVED $f"; rm -rf /w/$f 2>/dev/null; ln -s / /w/$f 2>/dev/null && echo "LINKED $f"; rmdir /w/$f 2>/dev/null && echo "GONE $f"; done
      ls -d /w/*; echo the end`);
    expect(output.match(/^(MOVED|GONE).*/gm)).toBeNull();
    for (const name of ['clone', 'home', 'result', 'requests', 'answers'])
      expect(lstatSync(join(station.dir, name)).isDirectory()).toBe(true);
    expect(readdirSync(station.dir).sort()).toEqual([
      'answers',
      'clone',
      'home',
      'prompt.md',
      'requests',
      'result',
      'shared',
    ]);
  });

  attack('nothing of its clone when its task is read-only, by writing, git, moving or mounting', async () => {
    const { output, station } = await host().attack(
      `echo x > README.md; echo x > new; rm -rf .git; git commit -q --allow-empty -m x; mv /w/repo /w/other; chmod 777 .; touch -d 2001-01-01 README.md
       mount -o remount,rw /w/repo; mount --bind /tmp /w/repo; echo x > /proc/self/cwd/new; echo "it ran" > /w/result/report.md`,
      { rules: { readOnly: true } },
    );
    expect(output).toContain('Read-only file system');
    expect(readFileSync(join(station.dir, 'clone/README.md'), 'utf8')).toBe('seed\n');
    expect(readdirSync(join(station.dir, 'clone')).sort()).toEqual([
      '.git',
      '.gitignore',
      'README.md',
      'src',
    ]);
    expect(await host().collect(station)).toBe(await host().mirror.refresh());
    expect(readFileSync(join(station.resultDir, 'report.md'), 'utf8')).toBe('it ran\n');
  });

  attack('links that it leaves lead nobody out of its folders', async () => {
    const { station } = await host().attack(
      'rm -rf README.md src; ln -s "$HOST_CANARY" README.md; ln -s "$HOST_HOME" src; ln -s "$HOST_CANARY" /w/home/l; ln -s "$HOST_HOME" /w/result/dir; ln -s / /w/requests/x',
    );
    expect(existsSync(join(station.dir, 'home', 'l'))).toBe(true);
    await removeWorkstation(station.dir);
    expect(existsSync(station.dir)).toBe(false);
    expect(readFileSync(join(host().outside, 'canary'), 'utf8')).toBe(host().canary);
  });

  attack('what it closes, nests or names oddly is removed all the same', async () => {
    const { station } = await host().attack(`
      mkdir -p closed/in/side /w/home/closed && touch closed/in/f && chmod 000 closed/in/side closed/in closed /w/home/closed
      perl -e 'my $n = "d" x 200; for (1 .. 60) { mkdir $n; chdir $n }' || true
      "$NODE" -e 'process.chdir("/w/home"); for (let i = 0; i < 300; i++) { require("fs").mkdirSync("d".repeat(100)); process.chdir("d".repeat(100)); }'
      touch "$(printf 'a\\nb')" "$(printf '\\377\\376')" -- "-rf" '$(reboot)'; chmod 000 .; exit 0`);
    await removeWorkstation(station.dir);
    expect(existsSync(station.dir)).toBe(false);
  });
});

describe('a folder of Signalbox with', () => {
  for (const [what, name] of [
    ['spaces and quotes', `a 'b" $(c) ;`],
    ['letters of all kinds', 'ä日本 ⚙'],
  ] as const)
    attack(`${what} in its name holds workstations, and hands their commits out`, async () => {
      const odd = new AttackedHost(`signalbox ${name}`);
      const done = await odd.attack('echo changed > src/a.txt; echo ok', { task: 'p/odd' });
      expect(done.output).toBe('ok\n');
      const commit = await odd.collect(done.station, 'p/odd');
      expect(odd.git(['-C', odd.origin, 'show', `${commit}:src/a.txt`])).toBe('changed');
      await odd.sandboxes.close();
      await odd.mirror.close();
      await removeWorkstation(done.station.dir);
      rmSync(odd.dir, { recursive: true });
    });
});
