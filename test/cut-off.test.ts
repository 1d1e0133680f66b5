// A worker that is cut off from the Temporal server, on a real fleet: its connection goes through a proxy that is cut.

import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { edit, replayedFleets } from './support/fleet.js';

const start = replayedFleets(3);

const LEASE_MS = 8_000;
const LOCK_DELAY_MS = 1_000;

/** A way to a TCP server that can be cut: what is connected is dropped, and nobody else gets through. */
async function proxyTo(target: string): Promise<{ address: string; cut: () => void }> {
  const [host = '', port = ''] = target.split(':');
  const sockets = new Set<Socket>();
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
  };
  let open = true;
  const server = createServer((near) => {
    keep(near);
    if (!open) return near.destroy();
    const far = connect(Number(port), host);
    keep(far);
    near.pipe(far).pipe(near);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const cut = () => {
    open = false;
    for (const socket of sockets) socket.destroy();
  };
  onTestFinished(() => {
    cut();
    server.close();
  });
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, cut };
}

describe('a worker that is cut off from the server', () => {
  it('ends its agents before their paths are given to others, and lands nothing of theirs', async () => {
    const fleet = await start({ config: { lease: `${LEASE_MS}ms`, lockDelay: `${LOCK_DELAY_MS}ms` } }, false);
    const proxy = await proxyTo(fleet.address);
    const first = await fleet.startWorker([], proxy.address);
    const alive = join(fleet.dir, 'alive');
    const role = 'main';
    // A lost worker is not the agent's fault: it is run once more.
    const [lost = ''] = await fleet.submit('lost', [
      {
        id: 'one',
        prompt: `[ ! -e '${alive}' ] || exit 1\n${edit('a.txt', 'lost')}\nwhile :; do date +%s%3N >> '${alive}'; sleep 0.05; done`,
        role,
        writes: ['a.txt'],
      },
    ]);
    await fleet.until('the agent to run', () => existsSync(alive));
    await fleet.startWorker();
    const next = await fleet.submit('next', [
      {
        id: 'two',
        prompt: `date +%s%3N > '${fleet.dir}/began'\n${edit('a.txt', 'next')}`,
        role,
        writes: ['a.txt'],
      },
    ]);
    const cutAt = Date.now();
    proxy.cut();
    const ended = await fleet.signalbox.wait([lost, ...next]);
    expect(ended.get(lost)?.outcome).toMatchObject({ kind: 'failed', code: 'AGENT_FAILED' });
    expect(ended.get('next/two')?.outcome).toMatchObject({ kind: 'landed' });
    const lastSign = Math.max(...fleet.read('alive').trim().split('\n').map(Number));
    const began = Number(fleet.read('began'));
    expect(lastSign).toBeLessThan(cutAt + LEASE_MS);
    expect(began).toBeGreaterThan(lastSign + LOCK_DELAY_MS);
    expect(fleet.file('a.txt')).toBe('next');
    expect(await fleet.violations([lost, ...next])).toEqual([]);
    await fleet.kill(first, 'SIGKILL');
  });
});
