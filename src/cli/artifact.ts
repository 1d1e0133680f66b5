import { Command } from 'commander';
import { readArtifact, writeArtifact } from '../client/artifact.js';
import { readFleet } from '../client/config.js';
import { readPackets } from '../client/records.js';
import { Refused } from '../client/refused.js';
import { amountOf } from '../domain/artifact.js';
import type { AttemptRecord } from '../domain/packet.js';
import { BadInput, type CommonOptions, fullName, print } from './context.js';

export const artifactCommand = (): Command =>
  new Command('artifact')
    .description(
      'List what a read-only task left in its result folder, held against the digest in its packet; or write it out.',
    )
    .argument('<task>', 'plan/task, or the id of a task submitted on its own')
    .option('--out <folder>', 'a new folder to write the files into')
    .option('--attempt <number>', 'which attempt; the last one that left something when left out')
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExample:\n  signalbox artifact spring/survey --out survey')
    .action(async (task: string, options: CommonOptions & { out?: string; attempt?: string }) => {
      if (options.attempt !== undefined && !/^[1-9]\d*$/.test(options.attempt))
        throw new BadInput(`--attempt ${options.attempt}: expected a number, 1 or more`);
      if (options.out === '') throw new BadInput('--out: expected the name of a folder');
      const fleet = await readFleet(options.config);
      const id = fullName(task);
      const packet = (await readPackets(fleet, id)).at(-1);
      if (!packet) throw new Refused(`no change packet of ${id}: it has not ended, or never was`);
      const { attempt, artifact } = chosen(id, packet.attempts, options.attempt);
      const { stored, ...omitted } = artifact ?? {};
      if (!stored)
        throw new Refused(
          `attempt ${attempt} of ${id} has left no artifact: ${whyNone(id, packet.role, artifact)}`,
        );
      const files = await readArtifact(fleet, stored);
      if (options.out !== undefined) await writeArtifact(files, options.out);
      const listed = files.map(({ path, size, sha256 }) => ({ path, size, sha256 }));
      const result = {
        ...{ task: id, attempt, ...stored, files: listed, ...omitted },
        ...(options.out === undefined ? {} : { out: options.out }),
      };
      print(options, result, () =>
        [
          `Artifact of ${id}, attempt ${attempt}: ${amountOf(stored)}, sha256 ${stored.digest}`,
          ...listed.map(({ path, size, sha256 }) => `  ${sha256} ${size} ${path}`),
          ...(options.out === undefined ? [] : [`written to ${options.out}`]),
        ].join('\n'),
      );
    });

function whyNone(id: string, role: string | undefined, artifact: AttemptRecord['artifact']): string {
  if (role !== undefined) return 'only tasks without a role leave one';
  return artifact ? `signalbox packet ${id} says what was left out` : 'it put no file into $SIGNALBOX_RESULT';
}

/** The attempt that is asked for. */
function chosen(task: string, attempts: readonly AttemptRecord[], number: string | undefined): AttemptRecord {
  const found =
    number === undefined
      ? (attempts.findLast(({ artifact }) => artifact?.stored) ?? attempts.at(-1))
      : attempts.findLast(({ attempt }) => attempt === Number(number));
  if (!found)
    throw new Refused(number === undefined ? `${task} never ran` : `${task} had no attempt ${number}`);
  return found;
}
