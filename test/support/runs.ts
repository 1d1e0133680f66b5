// How many random sequences a property is tried on: SIGNALBOX_RUNS, else a few, as in `npm test`. With SIGNALBOX_SEED
// they are the very same ones again.

const seed = process.env.SIGNALBOX_SEED;

export const runs = (few: number, share = 1): { numRuns: number; seed?: number } => ({
  numRuns: Math.ceil(Number(process.env.SIGNALBOX_RUNS ?? few) * share),
  ...(seed === undefined ? {} : { seed: Number(seed) }),
});
