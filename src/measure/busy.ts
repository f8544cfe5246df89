import { readFileSync } from 'node:fs';

/** Of /proc/stat: USER_HZ is 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;
/** In `cpu user nice system idle iowait irq softirq steal guest guest_nice`; guest time is in user time already. */
const IDLE = 3;
const IOWAIT = 4;
const COUNTED = 8;

/** Processor seconds that the whole machine has worked since its start, stolen time included: a guest has waited for it. */
export function busySeconds(stat: string = readFileSync('/proc/stat', 'utf8')): number {
  const ticks = stat
    .split('\n', 1)[0]!
    .trim()
    .split(/\s+/)
    .slice(1, 1 + COUNTED)
    .map(Number);
  const busy = ticks.filter((_, index) => index !== IDLE && index !== IOWAIT);
  return busy.reduce((sum, value) => sum + value, 0) / TICKS_PER_SECOND;
}
