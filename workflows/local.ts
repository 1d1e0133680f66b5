// Local activities of workflows: what they send and ask costs one event each. Tried again until it comes through, for
// what is not said is not known to anybody.

/** One try; from a minute on the wait for the next is a timer, so that no workflow task is held up for longer. */
export const LOCAL = {
  startToCloseTimeout: '30s',
  localRetryThreshold: '1m',
  retry: { initialInterval: '200ms', maximumInterval: '20s' },
} as const;
