// Change packets, kept under one ref per repository. Packets that come at the same time share one commit and one
// push. Writing the same packet twice changes nothing.

import { TreeEditor } from '../src/client/tree-editor.js';
import { earlierLife } from '../src/domain/fence.js';
import { PACKETS_REF } from '../src/domain/ids.js';
import type { Outcome } from '../src/domain/messages.js';
import { type Packet, packetPath } from '../src/domain/packet.js';
import { type Host, mirrorOf } from './host.js';
import type { Mirror } from './mirror.js';
import { commitTree, emptyTree } from './trees.js';

interface Waiting {
  packet: Packet;
  /** A packet that another hand wrote already stays. */
  ifAbsent: boolean;
  done: () => void;
  failed: (error: unknown) => void;
}

export class PacketKeeper {
  private readonly waiting = new Map<string, Waiting[]>();
  private readonly writing = new Set<string>();

  constructor(private readonly host: Host) {}

  /** Resolves when the packet is on the shared repository. */
  keep(repository: string, packet: Packet, ifAbsent = false): Promise<void> {
    return new Promise((done, failed) => {
      const waiting = this.waiting.get(repository) ?? [];
      this.waiting.set(repository, [...waiting, { packet, ifAbsent, done, failed }]);
      void this.drain(repository);
    });
  }

  /** How the tasks' last lives ended, of those that have packets. A repository that cannot be reached has none for now. */
  async outcomes(tasks: readonly string[]): Promise<{ task: string; outcome: Outcome }[]> {
    return (await this.ofLastLives(tasks)).map(({ task, outcome }) => ({ task, outcome }));
  }

  /** The packet of the task's last life that has one. */
  async newest(task: string): Promise<Packet | undefined> {
    return (await this.ofLastLives([task]))[0];
  }

  private async ofLastLives(tasks: readonly string[]): Promise<Packet[]> {
    const found = new Map<string, Packet>();
    for (const [repository, mirror] of this.host.mirrors) {
      try {
        for (const packet of await newestPackets(mirror, tasks)) {
          const known = found.get(packet.task);
          const ours = packet.fleet === this.host.config.fleet;
          if (ours && (!known || earlierLife(known.life, packet.life))) found.set(packet.task, packet);
        }
      } catch (error) {
        this.host.log(`change packets of ${repository} cannot be read: ${String(error)}`);
      }
    }
    return [...found.values()];
  }

  private async drain(repository: string): Promise<void> {
    if (this.writing.has(repository)) return;
    this.writing.add(repository);
    for (let batch = this.take(repository); batch.length > 0; batch = this.take(repository)) {
      try {
        await writePackets(mirrorOf(this.host, repository), batch);
        for (const { done } of batch) done();
      } catch (error) {
        for (const { failed } of batch) failed(error);
      }
    }
    this.writing.delete(repository);
  }

  private take(repository: string): Waiting[] {
    const batch = this.waiting.get(repository) ?? [];
    this.waiting.delete(repository);
    return batch;
  }
}

async function writePackets(mirror: Mirror, batch: readonly Waiting[]): Promise<void> {
  await mirror.open();
  for (let round = 1; ; round++) {
    // What this host knows of the ref is mostly right; the push finds out when it is not.
    if (round > 1 || (await mirror.find(PACKETS_REF)) === undefined)
      await mirror.fetch([`+${PACKETS_REF}*:${PACKETS_REF}*`]);
    const tip = await mirror.find(PACKETS_REF);
    const commit = await commitOf(mirror, tip, batch);
    if (commit === undefined) return;
    const problem = await mirror.push(
      [`--force-with-lease=${PACKETS_REF}:${tip ?? ''}`, `${commit}:${PACKETS_REF}`],
      { [PACKETS_REF]: commit },
    );
    if (problem === undefined) return;
    if (round > 20) throw new Error(`change packets cannot be pushed: ${problem}`);
    await new Promise((resolve) => setTimeout(resolve, 20 + Math.random() * 100));
  }
}

/** The packet of a task's last life. Throws when a repository cannot be read. */
export async function packetOf({ mirrors, config }: Host, task: string): Promise<Packet | undefined> {
  const found: Packet[] = [];
  for (const mirror of mirrors.values()) found.push(...(await newestPackets(mirror, [task])));
  return found
    .filter(({ fleet }) => fleet === config.fleet)
    .reduce<Packet | undefined>((a, b) => (a && earlierLife(b.life, a.life) ? a : b), undefined);
}

/** The packet of each task's last life. */
async function newestPackets(mirror: Mirror, tasks: readonly string[]): Promise<Packet[]> {
  await mirror.fetch([`+${PACKETS_REF}*:${PACKETS_REF}*`]);
  const tip = await mirror.find(PACKETS_REF);
  if (tip === undefined) return [];
  const packets: Packet[] = [];
  for (const task of tasks) {
    const tree = await mirror.lookUp(`${tip}:${packetPath(task, '').replace(/\/[^/]*$/, '')}`);
    if (tree === undefined) continue;
    const names = (await mirror.text(['ls-tree', '-z', '--name-only', tree])).split('\0').filter(Boolean);
    const newest = names.sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10)).at(-1);
    const oid = newest && (await mirror.lookUp(`${tree}:${newest}`));
    if (oid) packets.push(JSON.parse((await mirror.contents(oid)).toString('utf8')) as Packet);
  }
  return packets;
}

/** The commit that adds the packets; undefined when all are there already. */
async function commitOf(
  mirror: Mirror,
  tip: string | undefined,
  batch: readonly Waiting[],
): Promise<string | undefined> {
  const before = tip ? await mirror.treeOf(tip) : await emptyTree(mirror);
  const editor = new TreeEditor(mirror, before);
  for (const { packet, ifAbsent } of batch) {
    const path = packetPath(packet.task, packet.life).split('/');
    if (ifAbsent && (await editor.find(path))) continue;
    const text = Buffer.from(`${JSON.stringify(packet, undefined, 2)}\n`);
    await editor.put(path, '100644', await mirror.writeObject('blob', text));
  }
  const tree = await editor.write();
  if (tree === before) return undefined;
  const names = batch.map(({ packet }) => `${packet.outcome.kind} ${packet.task}`);
  return await commitTree(mirror, tree, tip ? [tip] : [], `${names.join('\n')}\n`);
}
