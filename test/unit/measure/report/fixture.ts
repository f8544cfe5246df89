import { Prng } from '../../../../src/base/prng.ts';
import type { BenchResult, PathResult, SizeSeries } from '../../../../src/measure/model.ts';

/** A run as it may come out of `bench local --peers`, made of a seed. */

const ROUNDS = 5;
const SIZES = ['64', '128', '256', '512', '1024', '1480', 'imix'];

interface Shape {
  readonly name: string;
  readonly kind: PathResult['kind'];
  readonly reference: string;
  readonly gbit: number;
  readonly kpps: number;
  readonly micros: number;
}

const SHAPES: readonly Shape[] = [
  {
    name: 'plain forwarding',
    kind: 'reference',
    reference: 'plain forwarding',
    gbit: 54,
    kpps: 521,
    micros: 20,
  },
  { name: 'Isthmus', kind: 'isthmus', reference: 'plain forwarding', gbit: 3.9, kpps: 340, micros: 92 },
  { name: 'kernel VXLAN', kind: 'kernel', reference: 'plain forwarding', gbit: 9.9, kpps: 361, micros: 22 },
  {
    ...{ name: 'plain forwarding, W', kind: 'reference', reference: 'plain forwarding, W' },
    ...{ gbit: 6.54, kpps: 518, micros: 20.8 },
  },
  {
    name: 'Isthmus, W',
    kind: 'isthmus',
    reference: 'plain forwarding, W',
    gbit: 3.42,
    kpps: 290,
    micros: 96,
  },
  {
    ...{ name: 'Isthmus on the package raw-socket, W', kind: 'isthmus', reference: 'plain forwarding, W' },
    ...{ gbit: 0.92, kpps: 135, micros: 187 },
  },
  {
    name: 'kernel VXLAN, W',
    kind: 'kernel',
    reference: 'plain forwarding, W',
    gbit: 6.6,
    kpps: 354,
    micros: 21,
  },
  {
    ...{ name: 'OpenVPN without cipher, W', kind: 'peer', reference: 'plain forwarding, W' },
    ...{ gbit: 0.32, kpps: 46, micros: 152 },
  },
  {
    name: 'tinc without cipher, W',
    kind: 'peer',
    reference: 'plain forwarding, W',
    gbit: 0.22,
    kpps: 36,
    micros: 132,
  },
  {
    name: 'wireguard-go, W',
    kind: 'peer',
    reference: 'plain forwarding, W',
    gbit: 0.25,
    kpps: 31,
    micros: 481,
  },
  { name: 'socat, W', kind: 'peer', reference: 'plain forwarding, W', gbit: 0.18, kpps: 19, micros: 160 },
] as readonly Shape[];

export function fixture(rounds = ROUNDS, sizes: readonly string[] = SIZES): BenchResult {
  const prng = new Prng(7);
  const around = (value: number): number[] =>
    Array.from({ length: rounds }, () => value * (0.85 + prng.below(300) / 1000));
  const bySize = (of: readonly string[], value: (share: number) => number): SizeSeries[] =>
    of.map((size) => {
      const bytes = size === 'imix' ? 340 : Number(size);
      return { size, values: around(value(bytes / 1480)) };
    });
  const paths = SHAPES.map(({ name, kind, reference, gbit, kpps, micros }): PathResult => {
    const packets = kpps * 1000;
    // As bench local does: with offloads one size of packets is enough.
    const measured = name.endsWith(', W') ? sizes : sizes.slice(0, 1);
    const tcpSizes = name.endsWith(', W') ? sizes.filter((size) => Number(size) >= 128) : [];
    return {
      ...{ name, kind, reference },
      tcpSingle: around(gbit),
      tcpMany: around(gbit * 0.95),
      tcpBySize: bySize(tcpSizes, (share) => gbit * share),
      lossFree: bySize(measured, (share) => packets * (1 - share / 3)),
      flood: bySize(measured, (share) => packets * (0.95 - share / 3)),
      roundTrip: {
        p50: around(micros),
        p90: around(micros * 1.4),
        p99: around(micros * 3.4),
        p999: around(micros * 9),
      },
      cpuPerGbit: around(1.9 / gbit),
      failures: name.startsWith('socat') ? ['round 3: TCP: socat ended with status 1'] : [],
    };
  });
  return {
    schema: 1,
    program: '0.1.0',
    mode: 'local',
    machine: {
      ...{ processor: 'Intel(R) Xeon(R) Processor', cores: 2, memoryGiB: 24 },
      ...{ kernel: '6.18.44', node: 'v20.20.2' },
    },
    run: {
      ...{ at: '2026-11-24T00:17:22.512Z', seed: 346058, rounds, seconds: 2, streams: 4, loadBefore: 1.2 },
      ...{ command: 'isthmus bench local --peers --json', tcpProgram: 'iperf3 -C reno' },
    },
    paths,
    left: ['flannel udp: no such program; not in Debian'],
  };
}

/** Nothing measured but one value of one path. */
export function pathOf(path: Partial<PathResult> & Pick<PathResult, 'name' | 'kind'>): PathResult {
  return {
    ...{ reference: null, tcpSingle: [], tcpMany: [], tcpBySize: [], lossFree: [], flood: [] },
    ...{ roundTrip: { p50: [], p90: [], p99: [], p999: [] }, cpuPerGbit: [], failures: [] },
    ...path,
  };
}
