// What `signalbox cleanup` finds, and what becomes of it. Nothing that holds commits goes before they are seen on the shared
// branch or are kept under the attempt's ref.

/** Something that attempts have left, on this host or on the shared repository. */
export type Found =
  | {
      kind: 'workstation';
      task: string;
      /** Of the worker that made it. */
      workerAlive: boolean;
      /** The attempt says that it is over, and why its work was not kept. */
      over?: string;
      taskOpen: boolean;
    }
  | { kind: 'kept clone'; task: string; taskOpen: boolean }
  | { kind: 'ready clone'; workerAlive: boolean }
  /** A removal that was cut short. */
  | { kind: 'remains' }
  | {
      kind: 'attempt ref';
      task: string;
      /** A task of its plan is not over: it may start from these commits. */
      planOpen: boolean;
      branch: string;
      /** Its commits are part of the branch. */
      contained: boolean;
      /** The commit of the branch that they became when they landed. */
      landedAs?: string;
    };

/** remove: nothing is lost by it. quarantine: its commits are kept under the attempt's ref first. */
export interface Verdict {
  does: 'remove' | 'quarantine' | 'stay';
  why: string;
}

const verdict = (does: Verdict['does'], why: string): Verdict => ({ does, why });

export function verdictOn(found: Found): Verdict {
  switch (found.kind) {
    case 'workstation': {
      if (found.workerAlive && found.over === undefined) return verdict('stay', 'its attempt runs');
      const whose = found.over === undefined ? 'its worker is dead' : 'its work could not be kept';
      return verdict(
        'quarantine',
        `${whose}: its commits are kept, then ${found.taskOpen ? 'its clone waits for the next attempt' : 'it goes'}`,
      );
    }
    case 'kept clone':
      return found.taskOpen
        ? verdict('stay', 'its task is not over')
        : verdict('remove', 'its task is over, and its commits are kept elsewhere');
    case 'ready clone':
      return found.workerAlive
        ? verdict('stay', 'the worker that made it runs')
        : verdict('remove', 'the worker that made it is dead');
    case 'remains':
      return verdict('remove', 'its removal was cut short');
    case 'attempt ref':
      if (!found.contained && found.landedAs === undefined)
        return verdict('stay', `its commits are not on ${found.branch}`);
      if (found.planOpen) return verdict('stay', 'its plan is not over');
      return verdict(
        'remove',
        found.contained
          ? `its commits are on ${found.branch}`
          : `it landed as ${found.landedAs?.slice(0, 12)}, which is on ${found.branch}`,
      );
  }
}
