import { Bench } from 'tinybench';
import { engineLoad, PACKETS_PER_CALL } from './engine-load.ts';
import type { MicroFigure } from './results.ts';

/** JavaScript's share of the two to four microseconds that the kernel needs for a packet. */
const BUDGET_NS = 50;

/** What a packet costs in the engine, with 100,000 prefixes and random destinations: parse, look up, rewrite, count. */
export async function engineBench(): Promise<Omit<MicroFigure, 'suite'>[]> {
  const bench = new Bench({ name: 'engine', time: 400, warmupTime: 300 });
  const load = engineLoad();
  const whole = { outbound: load.outbound, inbound: load.inbound };
  const copies = { outbound: load.outboundCopy, inbound: load.inboundCopy };
  for (const [direction, run] of Object.entries(whole)) bench.add(direction, run);
  for (const [direction, run] of Object.entries(copies)) bench.add(`${direction} copy`, run);
  await bench.run();
  const of = (name: string): { value: number; marginPercent: number } => {
    const result = bench.getTask(name)?.result;
    if (result?.state !== 'completed') throw new Error(`engine, ${name}: ${result?.state}`);
    return { value: (result.latency.p50 * 1e6) / PACKETS_PER_CALL, marginPercent: result.latency.rme };
  };
  return Object.keys(whole).flatMap((direction) => {
    const [turn, copy] = [of(direction), of(`${direction} copy`)];
    const row = (
      what: string,
      figure: Pick<MicroFigure, 'value' | 'marginPercent' | 'target'>,
    ): Omit<MicroFigure, 'suite'> => ({
      name: `${direction}: ${what}`,
      unit: 'ns',
      ...figure,
    });
    return [
      row("JavaScript's part, the two below apart", { value: turn.value - copy.value, target: BUDGET_NS }),
      row('a turn of the engine, with packets that are copied in', turn),
      row('the copy of a head alone, which stands for the kernel', copy),
    ];
  });
}
