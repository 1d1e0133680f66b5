// What the documentation shows is what the program takes and prints: every command line, every YAML and JSON example,
// every link, the picture of a run, and the calls for programs that do without Signalbox's own client.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type Command, CommanderError } from 'commander';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { EXIT } from '../src/cli/context.js';
import { program } from '../src/cli/main.js';
import { printOverview } from '../src/cli/status.js';
import { readSubmission } from '../src/cli/submissions.js';
import { readFleet } from '../src/client/config.js';
import { parseText } from '../src/client/documents.js';
import { Config } from '../src/domain/config.js';
import { Plan, SingleTask } from '../src/domain/plan.js';
import { explain } from '../src/domain/reasons.js';
import type { Overview, TaskLine } from '../src/domain/views.js';
import { TestFleet } from './support/fleet.js';

interface Example {
  /** file:line, for messages. */
  place: string;
  /** sh, yaml, …; empty when the fence names none. */
  language: string;
  text: string;
}

const allFiles = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? allFiles(join(folder, entry.name)) : [join(folder, entry.name)],
  );

const EXAMPLES = allFiles('examples');
const PAGES = ['README.md', ...allFiles('docs'), ...EXAMPLES].filter((file) => file.endsWith('.md'));
const read = (file: string): string => readFileSync(file, 'utf8');

/** The fenced blocks of a page. */
function fences(page: string): Example[] {
  const text = read(page);
  return [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(
    ({ index, 1: language = '', 2: body = '' }) => ({
      place: `${page}:${text.slice(0, index).split('\n').length + 1}`,
      language,
      text: body,
    }),
  );
}

/** The words of one shell command: quotes are taken off, comments and what follows `&&`, `|`, `>` or `;` left out. */
function words(line: string): string[] {
  const found: string[] = [];
  for (const [, double, single, plain, end] of line.matchAll(
    /"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s"'|&;>#][^\s"'|&;>]*)|([|&;>#].*)/gs,
  )) {
    if (end !== undefined) break;
    found.push(double ?? single ?? plain ?? '');
  }
  return found;
}

/** What stands behind `signalbox` in shell lines and in inline code, each with its place. */
function commandLines(page: string): { place: string; args: string[] }[] {
  const text = read(page);
  return text.split('\n').flatMap((line, i) => {
    const inFence = (text.split('\n').slice(0, i).join('\n').match(/^```/gm)?.length ?? 0) % 2 === 1;
    const shell = inFence ? [line] : [...line.matchAll(/`([^`]+)`/g)].map(([, code]) => code ?? '');
    return shell.flatMap((code) => {
      const [, rest] = /^\s*(?:[A-Z_]+=\S+ )*(?:npx )?signalbox (.*)$/.exec(code) ?? [];
      return rest === undefined ? [] : [{ place: `${page}:${i + 1}`, args: words(rest) }];
    });
  });
}

/** Has the command line parse as the program does, and does nothing. Throws CommanderError for what it does not know. */
async function takes(args: readonly string[]): Promise<void> {
  const all = program();
  const quiet = { writeOut: () => undefined, writeErr: () => undefined };
  for (const command of [all, ...all.commands]) command.configureOutput(quiet).action(() => undefined);
  await all.parseAsync([...args], { from: 'user' });
}

describe('a command line in the documentation', () => {
  const lines = PAGES.flatMap(commandLines).filter(({ args }) => args[0] !== '…');

  it('is found where there are some', () => {
    expect(lines.length).toBeGreaterThan(15);
    expect(lines.map(({ args }) => args.join(' '))).toEqual(
      expect.arrayContaining(['submit plan.yaml --watch', 'why TASK', 'worker']),
    );
  });

  it.each(lines.map(({ place, args }) => [place, args.join(' '), args] as const))(
    '%s: signalbox %s',
    async (_place, _line, args) => {
      await takes(args);
    },
  );

  it('would be found out if it were wrong', async () => {
    for (const wrong of ['stauts', 'status --al', 'why', 'cancel a', 'status extra', 'log a -x'])
      await expect(takes(words(wrong)), wrong).rejects.toThrow(CommanderError);
    expect(words(`retry a 'b c' "d \\" e" --x=y | head # no`)).toEqual([
      'retry',
      'a',
      'b c',
      'd \\" e',
      '--x=y',
    ]);
  });
});

describe('a page', () => {
  it.each(PAGES)('%s names only scripts and files that exist', (page) => {
    const text = read(page);
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    for (const [, name] of text.matchAll(/\bnpm run ([a-z-]+)/g))
      expect(Object.keys(scripts)).toContain(name);
    for (const [, link = ''] of text.matchAll(/\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)/g))
      expect(existsSync(join(dirname(page), link)), link).toBe(true);
  });
});

describe('the table of commands in the README', () => {
  const rows = [...read('README.md').matchAll(/^\| ((?:`[^`]+`(?:, )?)+) +\| (.*) \|$/gm)]
    .map(([, cell = '', text = '']) => ({
      usages: [...cell.matchAll(/`([^`]+)`/g)].map(([, code]) => code ?? ''),
      flags: [...text.matchAll(/`(--[a-z-]+)`/g)].map(([, flag]) => flag ?? ''),
    }))
    .filter(({ usages }) => usages.length > 0);

  it('names every command there is, with arguments and options that it takes', async () => {
    const named = rows.flatMap(({ usages }) => usages.map((usage) => usage.split(' ')[0]));
    const commands = program()
      .commands.map((command: Command) => command.name())
      .filter((name) => name !== 'demo');
    expect([...named].sort()).toEqual([...commands].sort());
    for (const { usages, flags } of rows)
      for (const usage of usages) {
        // `config\|plan\|task` is a choice, `[-f]` an option.
        const args = usage
          .replace(/(\S+?)(?:\\\|\S+)+/g, '$1')
          .replace(/[[\]]/g, '')
          .split(' ');
        await takes([...args, ...(usages.length === 1 ? flags : [])]);
      }
  });

  it('has the exit codes that the program has', () => {
    const told = /exit codes are (.*)\.$/m.exec(read('README.md'))?.[1]?.split(', ') ?? [];
    expect(told.map((text) => Number(text.split(' ')[0]))).toEqual(Object.values(EXIT));
  });
});

/** Checks by the schema that the example is one of; a part of signalbox.yaml gets what it leaves out. */
function validate({ place, text }: Example): void {
  const source = parse(text) as object;
  if ('tasks' in source) parseText(place, text, () => Plan);
  else if ('prompt' in source) parseText(place, text, () => SingleTask);
  else
    Config.parse({
      fleet: 'f',
      repositories: { app: { url: '.' } },
      agents: { a: { command: 'x' } },
      ...source,
    });
}

describe('an example', () => {
  const data = PAGES.flatMap(fences).filter(({ language }) => ['yaml', 'json'].includes(language));

  it.each(data.map((example) => [example.place, example] as const))(
    '%s fits its schema',
    (_place, example) => {
      validate(example);
    },
  );

  it('is found where there are some, and would be found out if it were wrong', () => {
    expect(data.length).toBeGreaterThan(3);
    expect(() => validate({ place: 'p', language: 'yaml', text: 'tasks: [{id: a}]' })).toThrow('prompt');
    expect(() => validate({ place: 'p', language: 'yaml', text: 'agents: {a: {comand: x}}' })).toThrow(
      'comand',
    );
  });

  it.each(EXAMPLES.filter((file) => /\.(ya?ml|json)$/.test(file)))('%s fits its fleet', async (file) => {
    const fleet = await readFleet(join(dirname(file), 'signalbox.yaml'));
    if (basename(file) !== 'signalbox.yaml') await readSubmission(file, fleet.config);
  });
});

describe('the README', () => {
  it('shows a run as `signalbox status` prints it', () => {
    const [picture] = fences('README.md').filter(({ text }) => text.startsWith('fleet shop: '));
    const line = (id: string, phase: TaskLine['phase'], seconds: number, why: string): TaskLine => ({
      id: `spring/${id}`,
      kind: 'task',
      phase,
      attempt: 1,
      forMs: seconds * 1_000,
      why,
    });
    const text = explain('LANDED', { commit: '4b1f0c2e9a31' });
    const tasks: TaskLine[] = [
      { ...line('docs', 'ended', 12, text), outcome: { kind: 'landed', code: 'LANDED', text } },
      line('detector', 'running', 4, explain('CLAIMS_FREE')),
      line('migration', 'running', 4, explain('CLAIMS_FREE')),
      line(
        'billing',
        'held',
        4,
        explain('UPSTREAM_PENDING', { upstream: 'spring/migration', state: 'landed' }),
      ),
      line('cart-1', 'running', 4, explain('CLAIMS_FREE')),
      line(
        'cart-2',
        'held',
        4,
        explain('PATH_HELD', { path: 'services/cart', held: 'services/cart', holder: 'spring/cart-1' }),
      ),
      line('survey', 'running', 3, explain('READ_ONLY')),
    ];
    const running = tasks.filter(({ phase }) => phase === 'running').length;
    const overview: Overview = {
      fleet: 'shop',
      asOf: 0,
      epoch: 1,
      recovering: false,
      running,
      ceiling: 8,
      tasks,
      claims: [],
      roles: [],
      circuits: [],
    };
    expect(picture?.text).toBe(`${printOverview(overview)}\n`);
  });

  it('has calls for other clients that do what it says', async () => {
    const [calls] = fences('README.md').filter(({ text }) => text.includes('client.workflow.start('));
    const fleet = await TestFleet.start();
    try {
      const script = (calls?.text ?? '')
        .replaceAll("'shop", `'${fleet.name}`)
        .replaceAll('-shop', `-${fleet.name}`);
      const { client } = fleet.signalbox;
      const AsyncFunction = (async () => undefined).constructor as FunctionConstructor;
      await AsyncFunction('client', script)(client);
      const [ended] = (await fleet.signalbox.wait(['single/fix-typo'])).values();
      expect(ended?.outcome).toMatchObject({ kind: 'cancelled', text: 'cancelled by ana: not needed' });
      expect(await client.workflow.getHandle(`${fleet.name}/coordinator`).query('overview')).toMatchObject({
        fleet: fleet.name,
      });
    } finally {
      await fleet.stop();
    }
  });
});
