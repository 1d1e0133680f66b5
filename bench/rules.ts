// The rules of a fleet with one repository and one role, all else as signalbox.yaml has it when left out.

import { Config, type Rules, rulesOf } from '../src/domain/config.js';

export const rulesFor = (ceiling: number, change: Partial<Rules> = {}): Rules => ({
  ...rulesOf(
    Config.parse({
      fleet: 'bench',
      repositories: { app: { url: 'none' } },
      roles: { dev: { resources: ['branch:app'] } },
      agents: { sh: { command: 'true' } },
      ceiling,
    }),
  ),
  ...change,
});
