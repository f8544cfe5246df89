import { cpus, loadavg, release, totalmem } from 'node:os';
import type { MachineFacts } from './model.ts';

/** The machine that measures: a number without it says nothing. */
export function describeMachine(): MachineFacts {
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
  };
}

/** Runnable processes in the minute before. */
export function loadNow(): number {
  return Math.round(loadavg()[0]! * 10) / 10;
}
