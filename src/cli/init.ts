import { existsSync } from 'node:fs';
import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Command } from 'commander';
import { simpleGit } from 'simple-git';
import { CONFIG_FILE } from '../client/config.js';
import { parseText } from '../client/documents.js';
import { Refused } from '../client/refused.js';
import { Config } from '../domain/config.js';
import { type CommonOptions, print } from './context.js';

export const initCommand = (): Command =>
  new Command('init')
    .description('Write a commented signalbox.yaml for the repository this folder belongs to.')
    .option('--force', 'overwrite one that is there')
    .addHelpText('after', '\nExample:\n  cd my-service && signalbox init')
    .action(async (options: CommonOptions & { force?: boolean }) => {
      const { dir, url, branch, remote, credentialsLeftOut } = await lookAround();
      const file = join(dir, CONFIG_FILE);
      if (existsSync(file) && !options.force)
        throw new Refused(`${file} is there already: edit it, or overwrite it with --force`);
      const name =
        basename(dir)
          .replace(/[^A-Za-z0-9_-]+/g, '-')
          .replace(/^[^A-Za-z0-9]+/, '')
          .slice(0, 80) || 'fleet';
      const text = template({ fleet: name, url, branch });
      parseText(file, text, () => Config);
      await writeFile(file, text);
      const ignored = await ignoreHome(dir);
      print(options, { file, url, branch, remote, credentialsLeftOut }, () =>
        [
          `wrote ${file}`,
          `  repository  ${url}${remote ? '' : ' (this repository has no remote: its own folder, which must be bare or not have the branch checked out)'}`,
          ...(credentialsLeftOut
            ? [
                "  without the credentials that the remote's URL holds: git on the worker's host must get them elsewhere, such as from a credential helper",
              ]
            : []),
          `  branch      ${branch}`,
          ...(ignored ? ['  added .signalbox/ to .gitignore'] : []),
          'Next: name your agent in it, then `signalbox up`.',
        ].join('\n'),
      );
    });

interface Surroundings {
  dir: string;
  url: string;
  branch: string;
  remote: boolean;
  credentialsLeftOut: boolean;
}

async function lookAround(): Promise<Surroundings> {
  const git = simpleGit();
  const dir = (await git.raw(['rev-parse', '--show-toplevel']).catch(() => '')).trim();
  if (dir === '')
    throw new Refused(
      'this folder is not in a git repository: run `signalbox init` in the one that the fleet works on',
    );
  const remotes = await git.getRemotes(true);
  const origin = remotes.find((remote) => remote.name === 'origin') ?? remotes[0];
  const head = (
    await git
      .raw(['symbolic-ref', '--quiet', '--short', `refs/remotes/${origin?.name ?? 'origin'}/HEAD`])
      .catch(() => '')
  ).trim();
  const current = (await git.raw(['symbolic-ref', '--quiet', '--short', 'HEAD']).catch(() => '')).trim();
  const branch = head.includes('/') ? head.slice(head.indexOf('/') + 1) : current || 'main';
  const found = origin?.refs.fetch || '.';
  const url = withoutCredentials(found);
  return { dir, url, branch, remote: origin !== undefined, credentialsLeftOut: url !== found };
}

/** signalbox.yaml is committed, so no secret may stand in it. Over http even a name alone can be a token; ssh needs its name. */
function withoutCredentials(url: string): string {
  const [, scheme, user, rest] = /^([a-z][a-z0-9+.-]*:\/\/)([^/?#]*)@(.*)$/is.exec(url) ?? [];
  if (scheme === undefined || user === undefined) return url;
  const name = /ssh/i.test(scheme) ? user.split(':')[0] : '';
  return `${scheme}${name ? `${name}@` : ''}${rest}`;
}

async function ignoreHome(dir: string): Promise<boolean> {
  const file = join(dir, '.gitignore');
  const text = await readFile(file, 'utf8').catch(() => '');
  if (/^\/?\.signalbox\/?$/m.test(text)) return false;
  await appendFile(file, `${text === '' || text.endsWith('\n') ? '' : '\n'}.signalbox/\n`);
  return true;
}

function template({ fleet, url, branch }: { fleet: string; url: string; branch: string }): string {
  return `# One fleet: the repositories that agents work on, who may write what, and how much at once.
# For completion in an editor: signalbox schema config > signalbox.schema.json, and as the first line
# yaml-language-server: $schema=signalbox.schema.json

fleet: ${JSON.stringify(fleet)}

repositories:
  app:
    url: ${JSON.stringify(url)}   # any URL or path that git can fetch from and push to
    branch: ${JSON.stringify(branch)}

# Writers. A branch has exactly one; a task that names a role is landed by that role's writer,
# a task without a role is read-only.
roles:
  main:
    resources: ["branch:app"]
    # maxRunning: 4              # tasks of this role at once; the ceiling when left out
    verify: []                   # run on the merged tree before it is pushed, such as ["npm ci", "npm test"]
    # verifyIn:                  # they run in a sandbox without a network, unless you say otherwise
    #   network: { allow: [registry.npmjs.org] }
    # deploy:                    # run after the push, from a checkout of the landed commit
    #   command: ./deploy.sh
    #   timeout: 10m
    # surface:                   # how to see that the deploy reached the public
    #   url: https://example.com/version
    #   contains: "{commit}"
    #   within: 1m

# Kinds of agent. The command runs in the agent's own clone; the prompt is in $SIGNALBOX_PROMPT and in the file
# $SIGNALBOX_PROMPT_FILE. Of your environment it sees PATH, locale, time zone and what passEnv names,
# and those secrets that it names.
agents:
  default:
    command: ["sh", "-c", "exec sh \\"$SIGNALBOX_PROMPT_FILE\\""]   # runs the prompt as a script: to try things out
    # command: ["sh", "-c", "claude -p \\"$SIGNALBOX_PROMPT\\" --permission-mode acceptEdits"]
    # secrets: [ANTHROPIC_API_KEY]
    # command: ["sh", "-c", "codex exec --sandbox workspace-write - < \\"$SIGNALBOX_PROMPT_FILE\\""]
    # secrets: [CODEX_API_KEY]
    # network: {allow: [api.anthropic.com, registry.npmjs.org]}   # none when left out
    # setup:                     # run in a fresh clone before the agent; what it keeps is reused while the key's files are the same
    #   - {run: npm ci, key: [package-lock.json], keep: [node_modules]}
    timeout: 2h
    # maxRunning: 4              # agents of this kind at once; the ceiling when left out
    # memory: 2GB                # what one takes of its host, for \`signalbox worker --memory 16GB\`

# Where this host has them: a variable, a file or a command. Values never stand here.
# secrets:
#   ANTHROPIC_API_KEY: {env: ANTHROPIC_API_KEY}
#   CODEX_API_KEY: {file: keys/codex}

# What else is shared: databases, pipelines, surfaces. Each is listed by exactly one role, and asked for by tasks
# with \`uses\`.
# resources:
#   db:orders: {shared: true}          # tasks that only share it run together
#   surface:newsletter: {rate: 10/hour}
#   pipeline:web: {capacity: 2}

ceiling: 8        # agents at once, in the whole fleet
lease: 30m        # how long a claim holds without a sign of life from its agent
pinned:           # how long it is kept while no agent runs under it
  backoff: 15m
  landing: 2h
lockDelay: 30s    # how long the paths of a holder that died rest
retry:
  attempts: 2
  backoff: 10s
# breaker:        # after failures in a row a role or a kind of agent starts nothing but a single trial
#   failures: 5
#   window: 60s
#   coolDown: 1m
issues:           # what a tracker's issue state means for its tasks
  closed: cancel
  done: cancel
  paused: hold
  blocked: hold
`;
}
