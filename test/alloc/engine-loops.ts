/**
 * Runs the shipped engine in a steady loop and prints, as one line of JSON, how many heap bytes a packet allocated. Started with the
 * flags of in-child.ts.
 */
import { engineLoad, PACKETS_PER_CALL } from '../../bench/engine-load.ts';
import { bytesPerCall } from './heap-meter.ts';

const CALLS = 5000;

function bytesAPacket(call: () => void): number {
  return bytesPerCall(CALLS * PACKETS_PER_CALL, () => {
    for (let i = 0; i < CALLS; i++) call();
  });
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
