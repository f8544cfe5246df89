import { Bench } from 'tinybench';
import { engineLoad, PACKETS_PER_CALL } from './engine-load.ts';

export const PACKETS_PER_TASK = PACKETS_PER_CALL;

/** JavaScript's share of the two to four microseconds that the kernel needs for a packet. */
const BUDGET_NS = 50;
const OUTBOUND = 'outbound: a packet from the device to the underlay';
const INBOUND = 'inbound: a packet from the underlay to the device';
const COPY = 'of which the copy of 48 bytes that stands for the kernel';
export const TARGETS = { [OUTBOUND]: BUDGET_NS, [INBOUND]: BUDGET_NS };

/** What a packet costs in the engine: parse, look up, rewrite, count, without the kernel. */
export async function engineBench(): Promise<Bench> {
  const bench = new Bench({ name: 'engine', time: 400, warmupTime: 300 });
  const load = engineLoad();
  bench.add(OUTBOUND, load.outbound);
  bench.add(INBOUND, load.inbound);
  bench.add(COPY, load.outboundCopy);
  await bench.run();
  return bench;
}
