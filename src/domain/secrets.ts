// What signalbox.yaml says of secrets: where the worker's host finds each one, and who gets it under which name. Values
// never stand in the configuration.

import { z } from 'zod';
import { Command, Name } from './fields.js';

export const VariableName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'the name of an environment variable');

const SOURCES = ['env', 'file', 'command'] as const;

const oneOf = (value: object, names: readonly string[], ctx: z.core.$RefinementCtx): void => {
  const given = names.filter((name) => Object.hasOwn(value, name));
  if (given.length === 1) return;
  const found = given.length === 0 ? 'none' : given.join(' and ');
  ctx.addIssue({ code: 'custom', message: `expected exactly one of ${names.join(', ')}, found ${found}` });
};

export const Secret = z
  .strictObject({
    env: VariableName.optional().describe("A variable of the worker's environment."),
    file: z
      .string()
      .min(1)
      .optional()
      .describe("A file of the worker's host; relative paths start at this file's folder."),
    command: Command.optional().describe(
      "A command that prints the value, run on the worker's host with the worker's environment: a shell command line, or a list of program and arguments, which no shell sees.",
    ),
  })
  .superRefine((secret, ctx) => oneOf(secret, SOURCES, ctx))
  .describe(
    'Where the value comes from: a variable, a file or a command. It is read anew for each attempt; newlines at its end are cut off.',
  );
export type Secret = z.infer<typeof Secret>;

export const Secrets = z
  .record(Name, Secret)
  .default({})
  .describe('Secrets by name. Nobody gets one that does not name it.');

/** A secret as an agent or a command gets it: in a variable, or in a read-only file whose path is in a variable. */
export interface SecretUse {
  secret: string;
  env?: string | undefined;
  file?: string | undefined;
}

const FileName = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,79}$/, 'a file name: letters, digits, ".", "_" and "-", at most 80');

const Use = z.union([
  VariableName.transform((name): SecretUse => ({ secret: name, env: name })),
  z
    .strictObject({
      secret: Name.describe('The name of a secret under `secrets`.'),
      env: VariableName.optional().describe('The variable that holds the value.'),
      file: FileName.optional().describe(
        'The name of a read-only file that holds the value. Its path is in a variable: the name of the secret in capitals, "_" for whatever a variable cannot have, and _FILE.',
      ),
    })
    .superRefine((use, ctx) => oneOf(use, ['env', 'file'], ctx)),
]);

export const SecretUses = z
  .array(Use)
  .default([])
  .describe(
    'The secrets it gets, each as `{ secret, env }` or `{ secret, file }`; the bare name of a variable stands for the secret and the variable of that name.',
  );

/** The variable that a use sets. "deploy-key" as a file: DEPLOY_KEY_FILE. */
export const variableOf = ({ secret, env }: SecretUse): string =>
  env ??
  `${secret
    .toUpperCase()
    .replace(/[^A-Z0-9]/g, '_')
    .replace(/^(?=\d)/, '_')}_FILE`;

export interface SecretProblem {
  path: (string | number)[];
  message: string;
  params?: { candidates: string[]; found: string };
}

/** What Signalbox sets for every agent and command itself. */
const OWN = /^(SIGNALBOX_.*|HOME|PATH|TMPDIR|GIT_TERMINAL_PROMPT)$/;

/** What is wrong with the uses of one agent kind or role, whose place is `at`. */
export function secretProblems(
  at: (string | number)[],
  { secrets: uses, passEnv }: { secrets: readonly SecretUse[]; passEnv: readonly string[] },
  known: readonly string[],
): SecretProblem[] {
  const taken = new Set(passEnv);
  const files = new Set<string>();
  return uses.flatMap((use, i): SecretProblem[] => {
    const path = [...at, 'secrets', i];
    const { secret, file } = use;
    if (!known.includes(secret))
      return [
        {
          path,
          message: `no secret is called "${secret}"; ${known.length > 0 ? `there are: ${known.join(', ')}` : 'list it under `secrets`'}`,
          params: { candidates: [...known], found: secret },
        },
      ];
    const variable = variableOf(use);
    if (OWN.test(variable)) return [{ path, message: `${variable} is set by Signalbox` }];
    if (taken.has(variable)) return [{ path, message: `${variable} is there twice` }];
    taken.add(variable);
    if (file !== undefined && files.has(file))
      return [{ path, message: `the file "${file}" is there twice` }];
    if (file !== undefined) files.add(file);
    return [];
  });
}
