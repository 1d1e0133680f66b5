// All activities of a fleet, made for one host. Tasks' activities and the control plane's are served by workers of
// their own, so that agents cannot take the slots of the coordinator and the writers.

import { roleRepository } from '../src/domain/config.js';
import { PACKETS_REF } from '../src/domain/ids.js';
import { agentActivities } from './agent.js';
import { assumptionActivities } from './assumptions.js';
import { confirmActivities } from './confirm.js';
import { deliveryActivities } from './delivery.js';
import { handOffNotes } from './handoff-note.js';
import type { Host } from './host.js';
import { landingActivities } from './landing.js';
import { Leases } from './leases.js';
import { Outbox } from './outbox.js';
import { PacketKeeper } from './packets.js';
import { isRunning, PeerSource } from './peer-source.js';
import { type PacketInput, reportActivities } from './reports.js';
import { dropKept } from './workstation/kept.js';

export function activitiesFor(host: Host) {
  const outbox = new Outbox(host);
  const packets = new PacketKeeper(host);
  const { requestCancel, ...delivery } = deliveryActivities(host, outbox, (tasks) => packets.outcomes(tasks));
  const record = {
    /** Keeps a change packet on the shared repository. Its task is over: clones that it has left here go. */
    keepPacket: async (input: PacketInput): Promise<void> => {
      await packets.keep(repositoryFor(host, input), input.packet, input.ifAbsent);
      void dropKept(host.home, input.packet.task).catch((error: unknown) =>
        host.log(`a clone of ${input.packet.task} stays for now: ${String(error)}`),
      );
    },
  };
  const peerSource = new PeerSource(host, {
    outcomes: (tasks) => packets.outcomes(tasks),
    runs: (task) => isRunning(host, task),
  });
  const { runAgent } = agentActivities(host, {
    outbox,
    leases: new Leases(outbox),
    peerSource,
    noteOf: handOffNotes((task) => packets.newest(task)),
  });
  return {
    outbox,
    task: {
      tell: delivery.tell,
      requestCancel,
      ...record,
      ...reportActivities(host, outbox, { runAgent, ...record }),
    },
    control: {
      ...delivery,
      ...record,
      ...landingActivities(host),
      ...assumptionActivities(host),
      ...confirmActivities(host),
    },
  };
}

export type Activities = ReturnType<typeof activitiesFor>;
export type TaskActivities = Activities['task'];
export type ControlActivities = Activities['control'];

function repositoryFor(host: Host, { role, repository }: { role?: string; repository?: string }): string {
  const rule = role === undefined ? undefined : host.config.roles[role];
  const own = rule && roleRepository(rule);
  const names = Object.keys(host.config.repositories);
  const found = [own, repository].find((name) => name !== undefined && names.includes(name)) ?? names[0];
  if (found === undefined) throw new Error(`there is no repository to keep ${PACKETS_REF} in`);
  return found;
}
