import { Bench, type FnOptions } from 'tinybench';
import { parseAddress, parseCidr } from '../src/base/address.ts';
import type { Claim } from '../src/table/claim.ts';
import { Table } from '../src/table/table.ts';
import type { MicroFigure } from './results.ts';

const CLAIMS = 100_000;
const SOURCES = ['kubernetes', 'etcd', 'file'];
const GATEWAYS = 400;
const CLUSTERS = 20;
/** Of claims, one in so many is of a CIDR that another source claims for the same cluster. */
const SHARED = 10;
const ONES = 500;

/** Claims of /26 blocks on nodes, as clusters with many nodes have them. */
function claimsOf(source: number): Claim[] {
  const own = Math.ceil(CLAIMS / SOURCES.length);
  return Array.from({ length: own }, (_, i) =>
    claimOf(i % SHARED === 0 ? i : source * own + i, i % GATEWAYS),
  );
}

function claimOf(block: number, gateway: number): Claim {
  const number = block % GATEWAYS;
  return {
    id: `Block/${block}`,
    cidr: { address: 0x0b00_0000 + block * 64, prefixLength: 26 },
    cluster: `cluster-${number % CLUSTERS}`,
    gateways: [{ address: 0xac20_0000 + gateway, weight: 1 }],
  };
}

function emptyTable(): Table {
  const table = new Table({
    ...{ cluster: 'east', local: [parseCidr('10.1.0.0/16')], underlay: parseAddress('172.31.0.1') },
    ownAddresses: [parseAddress('172.31.0.1')],
  });
  for (const name of SOURCES) {
    table.addSource(name, { priority: 0, staleAfterMs: Number.POSITIVE_INFINITY, holdMs: 0 });
  }
  return table;
}

async function medianMs(name: string, iterations: number, run: () => void, options: FnOptions = {}) {
  const bench = new Bench({ name, iterations, time: 0, warmupIterations: 2, warmupTime: 0 });
  bench.add(name, run, options);
  await bench.run();
  const result = bench.tasks[0]?.result;
  if (result?.state !== 'completed') throw new Error(`table, ${name}: ${result?.state}`);
  return { name, unit: 'ms', value: result.latency.p50, marginPercent: result.latency.rme };
}

/** 100,000 claims of three sources become routes; then what a watcher says afterwards. */
export async function tableBench(): Promise<Omit<MicroFigure, 'suite'>[]> {
  const claims = SOURCES.map((_, source) => claimsOf(source));
  let table = emptyTable();
  const merge = (): void => {
    for (const [source, name] of SOURCES.entries()) {
      table.apply(name, { kind: 'replace', claims: claims[source]! }, 0, 0);
    }
    // Not the number of claims: shared ones make one route.
    if (table.counts().refused > 0) throw new Error('a claim of the benchmark was refused');
    table.takeChanges();
    table.events();
  };
  const of = `${CLAIMS.toLocaleString('en')} claims of ${SOURCES.length} sources`;
  const fresh = {
    beforeEach: () => {
      table = emptyTable();
    },
  };
  const first = await medianMs(`merge ${of} into an empty table`, 10, merge, fresh);
  const again = await medianMs(`merge the same ${of} again`, 10, merge);
  let gateway = 1;
  const changed = await medianMs(
    `one claim of ${CLAIMS.toLocaleString('en')} names another gateway`,
    ONES,
    () => {
      gateway = (gateway + 1) % GATEWAYS;
      table.apply(SOURCES[0]!, { kind: 'upsert', claims: [claimOf(1, gateway)] }, 0, 0);
      if (table.takeChanges().set.length === 0) throw new Error('the change of a claim changed nothing');
    },
  );
  return [first, again, changed];
}
