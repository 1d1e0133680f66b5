// A place in line: what the order of two held tasks goes by, as it was when the place was taken.

export interface Place {
  id: string;
  score: number;
  priority: number;
  /** Its turn among the waiters: the longer it has waited, the lower. */
  age: number;
  arrived: number;
  /** Of the hold in which the place was taken: with any other it is void. */
  turn: number;
}

/** The higher score, then the higher priority, then who has waited longer. A strict order: `arrived` is unique. */
export function goesFirst(a: Place, b: Place): boolean {
  if (a.score !== b.score) return a.score > b.score;
  if (a.priority !== b.priority) return a.priority > b.priority;
  if (a.age !== b.age) return a.age < b.age;
  return a.arrived < b.arrived;
}

export const longerWaiting = (a: Place, b: Place): boolean => a.age < b.age;
