import { Command } from 'commander';
import { z } from 'zod';
import { Config } from '../domain/config.js';
import { Plan, SingleTask } from '../domain/plan.js';
import { BadInput } from './context.js';

const SCHEMAS = { config: Config, plan: Plan, task: SingleTask } as const;

export const schemaCommand = (): Command =>
  new Command('schema')
    .description('Print a JSON Schema, for editors: of signalbox.yaml, of a plan, or of a task on its own.')
    .argument('<what>', 'config, plan or task')
    .addHelpText(
      'after',
      '\nExample:\n  signalbox schema config > signalbox.schema.json\n\n  # first line of signalbox.yaml:\n  # yaml-language-server: $schema=signalbox.schema.json',
    )
    .action((what: string) => {
      const schema = Object.hasOwn(SCHEMAS, what) ? SCHEMAS[what as keyof typeof SCHEMAS] : undefined;
      if (!schema) throw new BadInput(`no schema "${what}": there are ${Object.keys(SCHEMAS).join(', ')}`);
      process.stdout.write(`${JSON.stringify(z.toJSONSchema(schema, { io: 'input' }), undefined, 2)}\n`);
    });
