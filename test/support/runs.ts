// How many random sequences a property is tried on: SIGNALBOX_RUNS, else a few, as in `npm test`. Those few are the same
// ones each time, so that a change is judged by what it changes; `npm run properties` tries new ones. With SIGNALBOX_SEED
// they are the very same ones again.

const { SIGNALBOX_RUNS, SIGNALBOX_SEED } = process.env;
const SEED = 20_261_121;

const seed = SIGNALBOX_SEED ?? (SIGNALBOX_RUNS === undefined ? SEED : undefined);

export const runs = (few: number, share = 1): { numRuns: number; seed?: number } => ({
  numRuns: Math.ceil(Number(SIGNALBOX_RUNS ?? few) * share),
  ...(seed === undefined ? {} : { seed: Number(seed) }),
});
