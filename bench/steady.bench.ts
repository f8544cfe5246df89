import { heapBytes } from '../test/alloc/in-child.ts';
import { steadyState } from '../test/alloc/steady-state.ts';
import type { MicroFigure } from './results.ts';

/** What the packet path may leave to the garbage collector; the meter itself is in it. */
const HEAP_BYTES_MAX = 0.5;
const CONTROL = '(allocating on purpose)';

/** What is not a time: garbage of each packet, and optimised code that V8 throws away once everything is warm, which fails the suite. */
export async function steadyBench(): Promise<Omit<MicroFigure, 'suite'>[]> {
  const bytes = (name: string, value: number): Omit<MicroFigure, 'suite'> => ({
    ...{ name: `heap bytes: ${name}`, unit: 'B', value, target: HEAP_BYTES_MAX },
  });
  const measured = { ...(await heapBytes('./engine-loops.js')), ...(await heapBytes('./packet-loops.js')) };
  const mixed = await steadyState();
  if (mixed.deoptimised.length > 0) {
    throw new Error(`deoptimised in the steady state: ${mixed.deoptimised.join(', ')}`);
  }
  const packets = mixed.packets.toLocaleString('en');
  return [
    { name: `deoptimisations in ${packets} mixed packets`, unit: '', value: 0, target: 0 },
    bytes('a packet of mixed traffic', mixed.heapBytes),
    ...Object.entries(measured).flatMap(([name, value]) => (name === CONTROL ? [] : [bytes(name, value)])),
  ];
}
