// Random numbers from a seed (Marsaglia's xorshift32): every run of a benchmark draws the same.

export interface Random {
  /** At least 0 and below 1. */
  next: () => number;
  /** A whole number, at least 0 and below `limit`. */
  below: (limit: number) => number;
  /** Standard normal, by Box and Muller. */
  normal: () => number;
}

export function randomFrom(seed: number): Random {
  // A state of 0 would stay 0; the product spreads seeds that are near to each other.
  let state = Math.imul(seed + 1, 0x9e3779b1) | 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  for (let i = 0; i < 8; i++) next();
  return {
    next,
    below: (limit) => Math.floor(next() * limit),
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
  };
}
