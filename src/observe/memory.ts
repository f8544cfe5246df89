import { Session } from 'node:inspector';

/**
 * Collects this thread's garbage now and gives the pages back. V8 lets garbage lie until the heap has grown by a factor, which after a table of
 * 100,000 routes was loaded is tens of MiB that nothing will ever use. Takes about 150 ms for such a table: not for a thread that carries
 * packets.
 */
export function collectGarbage(): void {
  const session = new Session();
  session.connect();
  // Answered before `post` returns.
  session.post('HeapProfiler.collectGarbage');
  session.disconnect();
}
