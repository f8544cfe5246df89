import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { cidrContains, parseAddress, parseCidr } from '../../../../src/base/address.ts';
import type { Claim, Gateway } from '../../../../src/table/claim.ts';
import { CalicoClaims, type CalicoClaimsOptions } from '../../../../src/watch/calico/calico-claims.ts';
import type { Block, CalicoNode, Pool } from '../../../../src/watch/calico/objects.ts';
import type { Malformed } from '../../../../src/watch/last-good.ts';
import type { TunnelGateway } from '../../../../src/watch/node-gateways.ts';
import { linesOf, ToldClaims } from '../told-claims.ts';

type Kind = 'pools' | 'blocks' | 'nodes' | 'tunnelGateways';
const KEYS = '/nodes/';
const NAMES = ['a', 'b', 'c', 'd'];

const nodes = fc.record({
  gateways: fc
    .option(fc.integer({ min: 1, max: 6 }), { nil: undefined })
    .map((n) => (n === undefined ? [] : [{ address: parseAddress(`10.0.0.${n}`), weight: 1 }])),
  matches: fc.boolean(),
  ready: fc.boolean(),
});
const objectsOf = {
  pools: fc
    .tuple(fc.constantFrom(...NAMES), fc.boolean())
    .map(([name, disabled]): [string, Pool] => [
      name,
      { name, disabled, cidr: parseCidr(`10.${NAMES.indexOf(name)}.0.0/16`) },
    ]),
  blocks: fc
    .tuple(fc.constantFrom(...NAMES), fc.integer({ min: 0, max: 3 }), fc.constantFrom(...NAMES))
    .map(([name, pool, node]): [string, Block] => [
      name,
      { name, node, cidr: parseCidr(`10.${pool}.${NAMES.indexOf(name)}.0/26`) },
    ]),
  nodes: fc
    .tuple(fc.constantFrom(...NAMES), nodes)
    .map(([name, node]): [string, CalicoNode] => [KEYS + name, node]),
  tunnelGateways: fc
    .tuple(
      fc.constantFrom(...NAMES),
      fc.record({
        node: fc.option(fc.constantFrom(...NAMES), { nil: undefined }),
        address: fc.constantFrom(undefined, parseAddress('172.31.0.1'), parseAddress('172.31.0.2')),
        weight: fc.constantFrom(0, 1),
        serves: fc.boolean(),
      }),
    )
    .map(([name, object]): [string, TunnelGateway] => [name, object]),
};

const step = fc.constantFrom<Kind>('pools', 'blocks', 'blocks', 'nodes', 'tunnelGateways').chain((kind) =>
  fc.record({
    kind: fc.constant(kind),
    entry: objectsOf[kind] as fc.Arbitrary<[string, object]>,
    what: fc.constantFrom('upsert', 'upsert', 'remove', 'break', 'relist', 'relist'),
    tell: fc.boolean(),
  }),
);

/** What the datastore holds, each object as it was when it last made sense; and claims on it by plain search. */
class Model {
  readonly good: Record<Kind, Map<string, object>> = {
    pools: new Map(),
    blocks: new Map(),
    nodes: new Map(),
    tunnelGateways: new Map(),
  };
  readonly #options: CalicoClaimsOptions;

  constructor(options: CalicoClaimsOptions) {
    this.#options = options;
  }

  claims(): Claim[] {
    const { cluster, claims } = this.#options;
    const blocks = [...this.good.blocks.values()] as Block[];
    const pools = [...this.good.pools.values()] as Pool[];
    if (claims === 'blocks')
      return blocks.map(({ name, cidr, node }) => ({
        id: `BlockAffinity/${name}`,
        cidr,
        cluster,
        gateways: this.#options.selection === 'all' ? (this.#node(node)?.gateways ?? []) : this.#chosen(),
      }));
    const used = ({ cidr, disabled }: Pool) =>
      !disabled || blocks.some((block) => cidrContains(cidr, block.cidr));
    return pools.filter(used).map(({ name, cidr }) => ({
      id: `IPPool/${name}`,
      cidr,
      cluster,
      ...(claims === 'local-pools' ? { gateways: [], local: 'pods' as const } : { gateways: this.#chosen() }),
    }));
  }

  #node(name: string): CalicoNode | undefined {
    return this.good.nodes.get(KEYS + name) as CalicoNode | undefined;
  }

  #chosen(): readonly Gateway[] {
    const { selection } = this.#options;
    const candidates: { gateway: Gateway; ready: boolean }[] = [];
    if (selection === 'objects') {
      for (const {
        node,
        address,
        weight,
        serves,
      } of this.good.tunnelGateways.values() as Iterable<TunnelGateway>) {
        const found = node === undefined ? undefined : this.#node(node);
        const at = address ?? found?.gateways[0]?.address;
        if (serves && at !== undefined)
          candidates.push({ gateway: { address: at, weight }, ready: found?.ready ?? true });
      }
    } else {
      for (const { gateways, matches, ready } of this.good.nodes.values() as Iterable<CalicoNode>)
        if (selection === 'all' || matches)
          for (const gateway of gateways) candidates.push({ gateway, ready });
    }
    const ready = candidates.filter((candidate) => candidate.ready);
    return (ready.length > 0 ? ready : candidates).map(({ gateway }) => gateway);
  }
}

/** Two candidates may share an address; whose weight counts is the business of the pool of gateways, and of its test. */
function lines(claims: Iterable<Claim>): string[] {
  const once = (gateways: readonly Gateway[]) => [
    ...new Map(gateways.map(({ address }) => [address, { address, weight: 1 }])).values(),
  ];
  return linesOf(Array.from(claims, (claim) => ({ ...claim, gateways: once(claim.gateways) })));
}

const VARIANTS = (['local-pools', 'pools', 'blocks'] as const).flatMap((claims) =>
  (['all', 'labels', 'objects'] as const).map((selection) => ({ claims, selection })),
);

for (const { claims, selection } of VARIANTS) {
  test(`${claims}, gateways ${selection}: after any changes the told claims are those computed from scratch`, () => {
    const options = { claims, selection, cluster: 'west', nodeKeys: KEYS };
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const derived = new CalicoClaims(options);
        const model = new Model(options);
        const told = new ToldClaims();
        for (const { kind, entry, what, tell } of steps) {
          apply(derived, model, kind, entry, what);
          if (!tell) continue;
          derived.settle();
          if (what === 'relist') told.apply({ kind: 'replace', claims: derived.ledger.all() });
          else for (const update of derived.ledger.changes()) told.apply(update);
          assert.deepEqual(lines(told.claims()), lines(model.claims()));
        }
      }),
      { seed: 7, numRuns: 60 },
    );
  });
}

function apply(
  derived: CalicoClaims,
  model: Model,
  kind: Kind,
  [key, object]: [string, object],
  what: string,
): void {
  const good = model.good[kind];
  const say = (event: object) =>
    derived.apply({ stream: kind, event } as Parameters<CalicoClaims['apply']>[0]);
  if (what === 'upsert') {
    good.set(key, object);
    say({ kind: 'change', upserts: new Map([[key, object]]), removed: [] });
  } else if (what === 'remove') {
    good.delete(key);
    say({ kind: 'change', upserts: new Map(), removed: [key] });
  } else if (what === 'break') {
    const malformed: Malformed = { problem: `${key} is wrong` };
    say({ kind: 'change', upserts: new Map([[key, malformed]]), removed: [] });
  } else {
    // What happened while nobody watched.
    if (good.has(key)) good.delete(key);
    else good.set(key, object);
    say({ kind: 'replace', objects: new Map(good) });
  }
}
