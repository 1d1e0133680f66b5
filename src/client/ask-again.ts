// A question that came to a worker at the one moment at which it may not be answered (workflows/early-events.ts) is asked
// again: the next time the worker has read the workflow's history as it should.

import { QueryNotRegisteredError, type WorkflowClientInterceptor } from '@temporalio/client';
import { EARLY } from '../domain/ids.js';

const TRIES = 10;
const PAUSE_MS = 300;

/** Interceptor of every client of a fleet. */
export const askAgain: WorkflowClientInterceptor = {
  async query(input, next) {
    for (let tries = 1; ; tries++) {
      try {
        return await next(input);
      } catch (error) {
        const early = error instanceof QueryNotRegisteredError && error.message.includes(EARLY);
        if (!early || tries === TRIES) throw error;
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    }
  },
};
