// Why something cannot be done.

/** For a reason that the message gives; nothing has happened. */
export class Refused extends Error {}

/** Refused because no coordinator answers. */
export class NoAnswer extends Refused {}

/** Refused because no worker runs that could answer. */
export class NoWorker extends NoAnswer {
  constructor(readonly fleet: string) {
    super(`no worker serves fleet ${fleet}: start one with \`signalbox up\` or \`signalbox worker\``);
  }
}
