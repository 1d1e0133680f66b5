#!/usr/bin/env node
// The command line. Each command has a file of its own, which registers it here.

import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError } from 'commander';
import { artifactCommand } from './artifact.js';
import { blockCommand } from './block.js';
import { cancelCommand } from './cancel.js';
import { claimCommand } from './claim.js';
import { claimsCommand } from './claims.js';
import { cleanupCommand } from './cleanup.js';
import { contentionCommand } from './contention.js';
import { EXIT, report } from './context.js';
import { demoCommand } from './demo.js';
import { extendCommand } from './extend.js';
import { freezeCommand } from './freeze.js';
import { grantCommand } from './grant.js';
import { initCommand } from './init.js';
import { inventoryCommand } from './inventory.js';
import { issueCommand } from './issue.js';
import { logCommand } from './log.js';
import { packetCommand } from './packet.js';
import { refreshCommand } from './refresh.js';
import { releaseCommand } from './release.js';
import { renewCommand } from './renew.js';
import { replayCommand } from './replay/command.js';
import { resumeCommand } from './resume.js';
import { retryCommand } from './retry.js';
import { revokeCommand } from './revoke.js';
import { schemaCommand } from './schema.js';
import { statusCommand } from './status.js';
import { submitCommand } from './submit.js';
import { upCommand } from './up.js';
import { whyCommand } from './why.js';
import { workerCommand } from './worker.js';

const EXIT_CODES = `
Exit codes:
  0  done, and it turned out well
  1  done, and it did not: a task failed or was cancelled, trees differ, an invariant was violated
  2  wrong usage or bad input; nothing was done
  3  refused: submitted before, path held, unknown task; nothing was done
  4  no Temporal server, no such namespace on it, or no worker that answers`;

export function program(): Command {
  const signalbox = new Command('signalbox')
    .description('Runs a fleet of coding agents on shared repositories without lost work.')
    .version('0.1.0')
    .configureHelp({ sortSubcommands: false })
    .addHelpText('after', EXIT_CODES)
    .exitOverride();
  const commands = [
    initCommand,
    inventoryCommand,
    upCommand,
    workerCommand,
    submitCommand,
    statusCommand,
    whyCommand,
    claimsCommand,
    contentionCommand,
    claimCommand,
    renewCommand,
    releaseCommand,
    extendCommand,
    grantCommand,
    revokeCommand,
    refreshCommand,
    logCommand,
    cancelCommand,
    retryCommand,
    blockCommand,
    issueCommand,
    packetCommand,
    artifactCommand,
    freezeCommand,
    resumeCommand,
    cleanupCommand,
    replayCommand,
    schemaCommand,
    demoCommand,
  ];
  for (const command of commands) {
    const made = command();
    made.option('--json', 'print one JSON document instead of text').exitOverride();
    made.addHelpText('after', EXIT_CODES);
    signalbox.addCommand(made);
  }
  return signalbox;
}

/** A reader that has seen enough (`signalbox status | head -1`) is no error; lost words on stderr end nothing. */
function allowClosedPipes(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(process.exitCode ?? EXIT.ok);
  });
  process.stderr.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

async function main(argv: string[]): Promise<void> {
  allowClosedPipes();
  try {
    await program().parseAsync(argv);
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    else process.exitCode = report(error, argv.includes('--json'));
  }
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  await main(process.argv);
