// decide(state, events, now): every coordination rule of the fleet. No clock, no random, no I/O: the same events give
// the same decisions. It updates the state it owns in place, returns the decisions it took, and notes in `state.due`
// who has to be told. What comes together is all taken in before anybody is let run: so of all that are free to run by
// then the one that goes first is the first. Its rules are in decide/, by who speaks; who may run now is in grant.ts.

import { type Checked, onChecked } from './decide/assume.js';
import { settleExtensions } from './decide/extend.js';
import { onFleetWord } from './decide/freezes.js';
import { onHand } from './decide/hands.js';
import { onIssue } from './decide/issues.js';
import { onGone } from './decide/lives.js';
import { type Found, onFound, onSurvey, type Survey } from './decide/recovery.js';
import { onRules } from './decide/rules.js';
import { onTask } from './decide/tasks.js';
import { expire } from './decide/time.js';
import { onWorker } from './decide/workers.js';
import { onWriter, onWriterGone } from './decide/writers.js';
import { settle } from './grant.js';
import type { Message } from './messages.js';
import type { State } from './state.js';
import { forgetEnded, type Taken } from './transitions.js';

export type Event =
  | Message
  | Survey
  | Found
  | Checked
  /** Time has passed. */
  | { kind: 'tick' };

export function decide(state: State, events: Event | readonly Event[], now: number): Taken[] {
  const together = 'kind' in events ? [events] : events;
  const taken = expire(state, now);
  for (const event of together) taken.push(...apply(state, event, now));
  for (;;) {
    taken.push(...settleExtensions(state, now), ...settle(state, now));
    if (state.toExtend.size > 0) continue;
    // Who is tried again at once is due at this very moment, and is not left for whatever comes next.
    if ((nextDeadline(state) ?? Number.POSITIVE_INFINITY) > now) break;
    taken.push(...expire(state, now));
  }
  forgetEnded(state, together.length);
  return taken;
}

/** When decide wants to be asked again though nothing happened; milliseconds since the epoch. */
export const nextDeadline = (state: State): number | undefined => state.deadlines.next;

function apply(state: State, event: Event, now: number): Taken[] {
  switch (event.kind) {
    case 'task':
      return onTask(state, event, now);
    case 'writer':
      return onWriter(state, event, now);
    case 'hand':
      return onHand(state, event, now);
    case 'issue':
      return onIssue(state, event, now);
    case 'fleet':
      return onFleetWord(state, event, now);
    case 'worker':
      return onWorker(state, event, now);
    case 'rules':
      return onRules(state, event.rules, now);
    case 'surveyed':
      return onSurvey(state, event, now);
    case 'gone':
      return event.task.startsWith('writer:')
        ? onWriterGone(state, event.task)
        : onGone(state, event.task, event.life, now);
    case 'found':
      return onFound(state, event, now);
    case 'checked':
      return onChecked(state, event, now);
    case 'tick':
      return [];
  }
}
