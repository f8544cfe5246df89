/**
 * Runs the shipped engine in a steady loop and prints, as one line of JSON, how many heap bytes a packet allocated. Started by
 * engine.test.ts with the flags that packet-loops.ts explains.
 */
import { engineLoad, PACKETS_PER_CALL } from '../../bench/engine-load.ts';

const CALLS = 5000;
const WARM_UP_ROUNDS = 5;
const WINDOWS = 4;

const collect = (globalThis as { gc?: () => void }).gc;
if (collect === undefined) throw new Error('run with --expose-gc');

/** As in packet-loops.ts: the smallest window counts, because what the loop itself allocates shows in all of them. */
function bytesAPacket(call: () => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < WARM_UP_ROUNDS + WINDOWS; round++) {
    collect!();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < CALLS; i++) call();
    if (round >= WARM_UP_ROUNDS) least = Math.min(least, process.memoryUsage().heapUsed - before);
  }
  return least / CALLS / PACKETS_PER_CALL;
}

const load = engineLoad();
const kept: Float64Array[] = [];
const measured = {
  outbound: bytesAPacket(load.outbound),
  inbound: bytesAPacket(load.inbound),
  // One object a batch: what the meter must at least see.
  '(allocating on purpose)': bytesAPacket(() => {
    kept[0] = new Float64Array(8);
  }),
};
process.stdout.write(`${JSON.stringify(measured)}\n`);
