// What the configuration says of sandboxes: those of agents, and those in which their code runs before it lands.

import { z } from 'zod';
import { Network } from './egress.js';
import { Size } from './fields.js';
import { SecretUses, VariableName } from './secrets.js';

export const ISOLATION = ['sandbox', 'none'] as const;
export type Isolation = (typeof ISOLATION)[number];

/** A sandbox, as agents and what runs their code get one each. */
export const SANDBOX = {
  isolation: z
    .enum(ISOLATION)
    .default('sandbox')
    .describe(
      'sandbox: its own file system, processes, network and HOME, see docs/workstations.md; where that cannot be had, nothing runs. none: it runs as the worker, with all that the worker can reach, and every packet says so.',
    ),
  network: Network.default('none'),
  processes: z
    .int()
    .min(16)
    .max(1_000_000)
    .default(2_048)
    .describe('How many processes and threads there may be at once in one.'),
  disk: Size.prefault('10GB').describe(
    'What may be written to the clone, HOME and result of one; more ends it.',
  ),
  temporary: Size.prefault('1GB').describe('What /tmp holds, which is in memory.'),
  sees: z
    .array(
      z
        .string()
        .regex(
          /^\/(?!(?:proc|sys|dev|w|signalbox)(?:\/|$))./,
          'an absolute path, and none of /proc, /sys, /dev, /w, /signalbox',
        ),
    )
    .default([])
    .describe(
      "Further files and folders of the worker's host that are seen there, read-only, at the same path.",
    ),
};

export const VerifyPlace = z.strictObject({
  memory: Size.optional().describe('What may be taken of the host.'),
  ...SANDBOX,
  passEnv: z
    .array(VariableName)
    .default([])
    .describe(
      "Variables of the worker's host that these commands see, and with them whatever agents wrote. What stands in them is kept out of logs and packets, as with secrets.",
    ),
  secrets: SecretUses,
});
export type VerifyPlace = z.infer<typeof VerifyPlace>;
