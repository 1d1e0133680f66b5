// What of a host its agents may use, as `worker` and `up` take it.

import type { Command } from 'commander';
import type { HostSize } from '../../worker/room.js';
import type { Config } from '../domain/config.js';
import { parseSize } from '../domain/sizes.js';
import { BadInput } from './context.js';

export interface SizeOptions {
  slots?: string;
  memory?: string;
}

export const withSizeOptions = (command: Command): Command =>
  command
    .option('--slots <n>', "agents at once on this host; the fleet's ceiling when left out")
    .option(
      '--memory <size>',
      'memory for all agents of this host, such as 8GB; each kind declares what one takes',
    );

/** Throws BadInput for what makes no sense, before anything is started. */
export async function sizeOf(config: Config, { slots, memory }: SizeOptions): Promise<HostSize> {
  const count = slots === undefined ? config.ceiling : Number(slots);
  if (!Number.isInteger(count) || count < 1 || count > 10_000)
    throw new BadInput(`--slots ${slots}: expected a number, 1 to 10000`);
  if (memory === undefined) return { slots: count };
  const bytes = parseSize(memory);
  if (!bytes) throw new BadInput(`--memory ${memory}: expected an amount such as "512MB" or "8GB"`);
  // Loaded here alone, as the worker is.
  const { sizeRefused } = await import('../../worker/room.js');
  const refused = sizeRefused(config, bytes);
  if (refused) throw new BadInput(refused);
  return { slots: count, memory: bytes };
}

/** As they are handed on to a worker in a process of its own. */
export const sizeArgs = ({ slots, memory }: SizeOptions): string[] => [
  ...(slots === undefined ? [] : ['--slots', slots]),
  ...(memory === undefined ? [] : ['--memory', memory]),
];
