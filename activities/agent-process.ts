// The agent's own process in its workstation: what it is told, and what it may ask for while it runs.

import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { AgentKind } from '../src/domain/config.js';
import { fenceText } from '../src/domain/fence.js';
import { useText } from '../src/domain/resources.js';
import type { AgentInput } from './attempt.js';
import type { Host } from './host.js';
import { outputFile } from './output.js';
import type { OutputWatch } from './output-watch.js';
import type { Peers } from './peers.js';
import { allowedEnv, type ProcessIdentity } from './processes.js';
import type { Pulse } from './pulse.js';
import { serveRequests } from './requests.js';
import type { Granted } from './secrets.js';
import type { StationEnd, Workstation } from './workstation/station.js';

/** An agent that is told to end has this long to do so, and never more than this part of its lease. */
const MOST_GRACE_MS = 5_000;
const ENDING = 0.1;
export const graceOf = ({ lease }: Pick<AgentInput, 'lease'>): number =>
  Math.min(MOST_GRACE_MS, lease * ENDING);

/** `log`: the file for its output. */
export async function runInStation(
  host: Host,
  log: string,
  input: AgentInput & { base: string; earlier?: string },
  agent: AgentKind,
  station: Workstation,
  { granted, watch, pulse, peers }: { granted: Granted; watch: OutputWatch; pulse: Pulse; peers: Peers },
  signal: AbortSignal,
  onStart: (processes: ProcessIdentity[]) => Promise<void>,
): Promise<StationEnd> {
  if (signal.aborted) return { signal: 'SIGTERM' };
  await mkdir(dirname(log), { recursive: true });
  const output = outputFile(log, granted.redactor, { watch });
  pulse.shows(output);
  const { paths } = station;
  const more = {
    ...input.env,
    ...granted.env,
    ...(await station.keepSecrets(granted.files)),
    HOME: paths.home,
    TMPDIR: paths.tmp,
    GIT_TERMINAL_PROMPT: '0',
    SIGNALBOX_TASK: input.task,
    SIGNALBOX_ATTEMPT: String(input.attempt),
    SIGNALBOX_FENCE: fenceText(input.fence),
    SIGNALBOX_ROLE: input.role ?? '',
    SIGNALBOX_WRITES: input.writes.join('\n').slice(0, 32_000),
    SIGNALBOX_USES: (input.uses ?? []).map(useText).join('\n'),
    SIGNALBOX_BASE: input.base,
    SIGNALBOX_EARLIER: input.earlier ?? '',
    SIGNALBOX_REUSED: station.reused ? '1' : '',
    ...(input.takenOver ? { SIGNALBOX_HANDOFF_FILE: paths.handOff } : {}),
    SIGNALBOX_REQUESTS: paths.requests,
    SIGNALBOX_ANSWERS: paths.answers,
    SIGNALBOX_RESULT: paths.result,
    SIGNALBOX_SHARED: paths.shared,
    PATH: paths.path,
    SIGNALBOX_PROMPT_FILE: paths.prompt,
    SIGNALBOX_REPORT_FILE: paths.report,
    // The kernel takes at most 128 KiB per variable; the file always has all of it.
    ...(Buffer.byteLength(input.prompt) < 100_000 ? { SIGNALBOX_PROMPT: input.prompt } : {}),
  };
  const recorded: Promise<void>[] = [];
  // What is granted by now is there when it starts.
  await peers.begin(signal);
  const { task, fence } = input;
  const refresh = (names: readonly string[]) => peers.refresh(names);
  const desk = serveRequests(host, station.desk, { task, fence, refresh });
  try {
    return await station.run({
      command: agent.command,
      env: allowedEnv(agent.passEnv, more),
      output: output.stream,
      errors: output.errors,
      keys: granted.keys,
      log: host.log,
      signal,
      graceMs: graceOf(input),
      onStart: (processes) => recorded.push(onStart(processes)),
    });
  } finally {
    await desk.close();
    await Promise.all(recorded);
    await output.close();
  }
}
