// Fields that the schemas of signalbox.yaml and of plans share.

import { z } from 'zod';
import { DURATION, parseDuration } from './durations.js';
import { NAME } from './ids.js';
import { BadPattern, parsePattern } from './paths.js';
import { parseSize, SIZE } from './sizes.js';

export const Duration = z
  .string()
  .regex(DURATION, 'a duration such as "30s", "10m" or "2h"')
  .transform((text) => parseDuration(text) ?? 0);

/** Bytes. */
export const Size = z
  .string()
  .regex(SIZE, 'an amount such as "512MB" or "8GB"')
  .transform((text) => parseSize(text) ?? 0);

export const Name = z
  .string()
  .regex(NAME, 'a name: letters, digits, ".", "_" and "-", at most 80, starting with a letter or digit');

export const Command = z
  .union([z.string().min(1), z.array(z.string()).min(1)])
  .describe('A shell command line, or a list: program and arguments.');

export const Claim = z.string().superRefine((claim, ctx) => {
  try {
    parsePattern(claim);
  } catch (error) {
    if (!(error instanceof BadPattern)) throw error;
    ctx.addIssue({ code: 'custom', message: error.message });
  }
});
