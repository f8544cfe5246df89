import type { BenchResult, MachineFacts } from '../model.ts';

/** What every report says of a run beside its figures. */

export const W_MEANS =
  "W: without segmentation offload on the gateways' underlay devices, so that every packet is at most 1,500 bytes, as on a wire.";

/** `isthmus bench local, version 0.1.0, 2026-11-24 00:17 UTC, 5 rounds of 2 s, seed 1, TCP by iperf3`. */
export function describeRun({ program, mode, run }: BenchResult): string {
  const rounds = run.rounds === 1 ? '1 round' : `${run.rounds} rounds`;
  return [
    `isthmus bench ${mode}, version ${program}`,
    timeOf(run.at),
    `${rounds} of ${run.seconds} s, seed ${run.seed}`,
    `TCP by ${run.tcpProgram}`,
  ].join(', ');
}

export function describeMachine({ machine, run }: BenchResult): string {
  return `${factsOf(machine)}, load before the run ${run.loadBefore}`;
}

/** `192.0.2.1: Xeon …, 4 cores, …, version 0.1.0`. */
export function describeFar({ address, program, machine }: NonNullable<BenchResult['far']>): string {
  return `${address}: ${factsOf(machine)}, version ${program}`;
}

function factsOf({ processor, cores, memoryGiB, kernel, node }: MachineFacts): string {
  return [processor, `${cores} cores`, `${memoryGiB} GiB`, `Linux ${kernel}`, `Node ${node}`].join(', ');
}

/** `2026-11-24 00:17 UTC` of an ISO time; what is none stays as it is. */
export function timeOf(at: string): string {
  return at.replace(/^(\d{4}-\d\d-\d\d)T(\d\d:\d\d).*Z$/, '$1 $2 UTC');
}
