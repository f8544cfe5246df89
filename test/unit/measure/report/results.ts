import fc from 'fast-check';
import type { BenchResult, PathResult, SizeSeries } from '../../../../src/measure/model.ts';
import { fixture } from './fixture.ts';

/** Any result that a run could give: paths with and without a reference, series with holes, no value, one or many. */
export function results(): fc.Arbitrary<BenchResult> {
  const value = fc.oneof(
    fc.double({ min: 0, max: 1e9, noNaN: true }),
    fc.double({ min: 0, max: 2, noNaN: true }),
    fc.integer({ min: 0, max: 1_000_000 }),
  );
  const values = fc.array(value, { maxLength: 4 });
  const series: fc.Arbitrary<SizeSeries[]> = fc.uniqueArray(
    fc.record({ size: fc.constantFrom('64', '512', '1480', 'imix'), values }),
    { selector: ({ size }) => size, maxLength: 4 },
  );
  const path: fc.Arbitrary<PathResult> = fc.record({
    name: fc.oneof(
      fc.string({ minLength: 1, maxLength: 60 }),
      fc.constantFrom('plain', 'VXLAN, W', 'Isthmus, W'),
    ),
    kind: fc.constantFrom('reference', 'isthmus', 'kernel', 'peer'),
    reference: fc.constantFrom(null, 'plain', 'nobody'),
    tcpSingle: values,
    tcpMany: values,
    tcpBySize: series,
    lossFree: series,
    flood: series,
    roundTrip: fc.record({ p50: values, p90: values, p99: values, p999: values }),
    cpuPerGbit: values,
    failures: fc.array(fc.string(), { maxLength: 2 }),
  });
  const { machine } = fixture(1);
  const far = fc.constant({ address: '10.2.1.2', program: '0.1.0', machine });
  return fc
    .record({
      far: fc.option(far, { nil: undefined }),
      paths: fc.uniqueArray(path, { selector: ({ name }) => name, maxLength: 10 }),
      left: fc.array(fc.string(), { maxLength: 2 }),
    })
    .map(({ far, ...of }) => ({ ...fixture(1), ...of, ...(far === undefined ? {} : { far }) }));
}

/** Every measured number, in the unit in which it is shown. */
export function shownNumbers({ paths }: BenchResult): number[] {
  const thousands = (series: readonly SizeSeries[]): number[] =>
    series.flatMap(({ values }) => values.map((value) => value / 1000));
  return paths.flatMap((path) => [
    ...path.tcpSingle,
    ...path.tcpMany,
    ...path.tcpBySize.flatMap(({ values }) => values),
    ...thousands(path.lossFree),
    ...thousands(path.flood),
    ...Object.values(path.roundTrip).flat(),
    ...path.cpuPerGbit,
  ]);
}
