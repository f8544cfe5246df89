import type { Clock } from '../../base/clock.ts';

/** Resolves after `delayMs`, or when the signal aborts. */
export function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      timer.cancel();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = clock.after(delayMs, done);
    if (signal.aborted) done();
    else signal.addEventListener('abort', done, { once: true });
  });
}
