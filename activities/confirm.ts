// Asks the operator's own command whether what a person grants may count: a second factor, such as a passkey. It is asked
// for every grant of a person, whoever sent it and however; where none is configured the grant counts as it is.

import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { Context, heartbeat } from '@temporalio/activity';
import { formatDuration } from '../src/domain/durations.js';
import type { Confirmed } from '../src/domain/own-peers.js';
import { clean } from '../src/domain/packet.js';
import type { PeerFrom } from '../src/domain/peering-grants.js';
import type { Host } from './host.js';
import { allowedEnv, runProcess } from './processes.js';
import { grantSecrets } from './secrets.js';

export interface GrantFacts {
  /** Whose tree, full name. */
  owner: string;
  /** Who is to see it, full name. */
  to: string;
  as: string;
  from: PeerFrom;
  by: string;
}

const MOST_OUTPUT = 16_000;
const MOST_TEXT = 300;
const GRACE_MS = 1_000;

export function confirmActivities(host: Pick<Host, 'config' | 'home' | 'log'>) {
  return {
    /** Exit code 0 allows it; anything else, and a timeout, refuses it with the last line of output. */
    async confirmGrant(facts: GrantFacts): Promise<Confirmed> {
      const beat = setInterval(() => heartbeat(), 1_000);
      try {
        return await confirm(host, facts, Context.current().cancellationSignal);
      } finally {
        clearInterval(beat);
      }
    },
  };
}

/** The same without Temporal. */
export async function confirm(
  { config, home, log }: Pick<Host, 'config' | 'home' | 'log'>,
  { owner, to, as, from, by }: GrantFacts,
  stop: AbortSignal,
): Promise<Confirmed> {
  const { confirm: command, timeout, passEnv } = config.peering;
  if (command === undefined) return { allowed: true, text: '', at: Date.now() };
  const { redactor } = await grantSecrets(config, { secrets: [], passEnv }, { signal: stop });
  let said = '';
  const output = new Writable({
    write: (chunk: Buffer, _, done) => {
      said = (said + chunk.toString('utf8')).slice(-MOST_OUTPUT);
      done();
    },
  });
  const limit = AbortSignal.timeout(timeout);
  const end = await runProcess({
    command,
    cwd: home,
    env: allowedEnv(passEnv, {
      SIGNALBOX_FLEET: config.fleet,
      SIGNALBOX_OWNER: owner,
      SIGNALBOX_TO: to,
      SIGNALBOX_AS: as,
      SIGNALBOX_FROM: from,
      // Anybody may send it: no shell is to stumble over it, and a null byte ends no variable early.
      SIGNALBOX_BY: clean(by).replaceAll('\n', ' '),
    }),
    // Below the workstations: what a dead worker left of it is found there.
    marker: join(home, 'workstations', 'confirm', randomUUID()),
    output,
    signal: AbortSignal.any([stop, limit]),
    graceMs: GRACE_MS,
  });
  const allowed = end.exitCode === 0 && !limit.aborted && !stop.aborted;
  const last = clean(redactor.text(said)).trim().split('\n').at(-1)?.trim().slice(0, MOST_TEXT) ?? '';
  const how = limit.aborted
    ? `\`confirm\` took longer than ${formatDuration(timeout)}`
    : (end.error ??
      (end.signal
        ? `\`confirm\` ended by ${end.signal}`
        : `\`confirm\` ended with exit code ${end.exitCode}`));
  log(
    `${allowed ? 'allowed' : 'refused'}: ${to} sees ${owner} as .shared/${as}, granted by ${clean(by)}${allowed ? '' : ` (${how})`}`,
  );
  return { allowed, text: allowed ? last : limit.aborted || last === '' ? how : last, at: Date.now() };
}
