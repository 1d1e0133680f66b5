import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { readChangeLog } from '../client/change-log.js';
import { NAME } from '../domain/ids.js';
import { inventoryYaml, propose } from '../domain/inventory.js';
import { BadInput, type CommonOptions, print } from './context.js';

const DEFAULT_LAST = 1_000;
const MOST_LAST = 1_000_000;

interface InventoryOptions extends CommonOptions {
  last: string;
  role: string;
}

export const inventoryCommand = (): Command =>
  new Command('inventory')
    .description(
      "Propose, from a repository's history, which paths need a claim: `claims` for signalbox.yaml, commented.",
    )
    .argument('[repo]', 'a git repository on this host; it is only read', '.')
    .option('--last <n>', 'how many commits to look at', String(DEFAULT_LAST))
    .option('--role <name>', "the role to name for directories that are somebody's own", 'main')
    .addHelpText(
      'after',
      '\nExamples:\n  signalbox inventory\n  signalbox inventory ~/src/redis --last 5000 --role server',
    )
    .action(async (repo: string, options: InventoryOptions) => {
      const last = Number(options.last);
      if (!/^\d+$/.test(options.last) || last < 1 || last > MOST_LAST)
        throw new BadInput(`--last ${options.last}: expected a whole number from 1 to ${MOST_LAST}`);
      if (!NAME.test(options.role))
        throw new BadInput(`--role ${options.role}: expected letters, digits, ".", "_" and "-"`);
      const repository = resolve(repo);
      if (!existsSync(repository)) throw new BadInput(`there is no ${repository}`);
      const log = await readChangeLog(repository, last).catch((error: unknown) => {
        throw new BadInput(error instanceof Error ? error.message : String(error));
      });
      const proposal = propose(log);
      print(options, { repository, last, ...proposal }, () =>
        inventoryYaml(proposal, { repository, role: options.role }),
      );
    });
