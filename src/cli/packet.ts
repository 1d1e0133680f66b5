import { Command } from 'commander';
import { readFleet } from '../client/config.js';
import { readPackets } from '../client/records.js';
import { Refused } from '../client/refused.js';
import { printPacket } from '../domain/packet.js';
import { type CommonOptions, fullName, print } from './context.js';

export const packetCommand = (): Command =>
  new Command('packet')
    .description(
      'Print the change packet of an ended task: what it did, what ran beside it and why that was safe.',
    )
    .argument('<task>', 'plan/task, or the id of a task submitted on its own')
    .option('--all', 'every life of the task, not only the last')
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExample:\n  signalbox packet spring/billing')
    .action(async (task: string, options: CommonOptions & { all?: boolean }) => {
      const fleet = await readFleet(options.config);
      const id = fullName(task);
      const packets = await readPackets(fleet, id);
      const last = packets.at(-1);
      if (!last) throw new Refused(`no change packet of ${id}: it has not ended, or never was`);
      const chosen = options.all ? packets : [last];
      print(options, options.all ? chosen : last, () => chosen.map(printPacket).join('\n'));
    });
