import { availableParallelism } from 'node:os';

/** More than this was never needed to fill a link from userspace, and each costs a TUN queue and a socket buffer. */
const AUTO_WORKERS_MAX = 8;

/** One worker for each two processors: the other half of a packet's work, in the kernel's stack, needs a processor too. */
export function workerCount(wish: 'auto' | number): number {
  if (wish !== 'auto') return wish;
  return Math.max(1, Math.min(AUTO_WORKERS_MAX, Math.floor(availableParallelism() / 2)));
}
