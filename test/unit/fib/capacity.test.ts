import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CLUSTERS_MAX, GATEWAYS_MAX, LOCAL_CIDRS_MAX } from '../../../src/base/limits.ts';
import { Prng } from '../../../src/base/prng.ts';
import type { FibEntry } from '../../../src/fib/entry.ts';
import { Fib } from '../../../src/fib/fib.ts';
import {
  ARENA_BYTES_MAX,
  ARENA_BYTES_MIN,
  checkLayout,
  GROUPS_MAX,
  PEERS_MAX,
  PREFIXES_MAX,
  REMOTE_GROUP_MIN,
} from '../../../src/fib/layout.ts';
import { enterEpoch, leaveEpoch, lookup } from '../../../src/fib/lookup.ts';
import { checkBlocks } from './image-walk.ts';
import { entry, SEED, smallFib, someSettings } from './linear-scan.ts';

const full = { code: 'ISTHMUS_ERR_CAPACITY' };

function entryAt(index: number, cluster: string, gateway: number, weight = 1): FibEntry {
  const cidr = { address: (0x0a00_0000 + index * 256) >>> 0, prefixLength: 24 };
  return { cidr, cluster, gateways: [{ address: gateway, weight }] };
}

/** Runs `change`, which must fail, and checks that nothing is different afterwards. */
function refuses(fib: Fib, change: () => void): void {
  const picture = () => {
    fib.reclaim();
    const { epoch: _, bytesTouched: __, bytesUsed: ___, ...stats } = fib.stats();
    return {
      ...stats,
      peers: fib.peers().length,
      root: [0x0a00_0001, 0x0a00_0101, 0x0a01_0001].map((at) => lookup(fib.words, at)),
    };
  };
  const before = picture();
  assert.throws(change, full);
  assert.deepEqual(picture(), before);
  checkBlocks(fib);
}

test('the constants of the layout fit one another', () => {
  checkLayout();
});

describe('the image holds exactly', () => {
  test('CLUSTERS_MAX clusters, and another one again when one went', () => {
    const fib = smallFib();
    fib.apply(
      Array.from({ length: CLUSTERS_MAX }, (_, i) => entryAt(i, `cluster-${i}`, 1)),
      [],
    );
    refuses(fib, () => fib.apply([entryAt(0, 'one more', 1)], []));
    fib.apply([entryAt(0, 'cluster-1', 1)], []);
    fib.apply([entryAt(0, 'one more', 1)], []);
    assert.equal(fib.stats().clusters, CLUSTERS_MAX);
  });

  test('GATEWAYS_MAX gateways in one entry', () => {
    const fib = smallFib();
    const gateways = Array.from({ length: GATEWAYS_MAX + 1 }, (_, i) => ({
      address: 1 + i,
      weight: 1,
    }));
    const wide = (count: number): FibEntry => ({
      ...entryAt(0, 'west', 1),
      gateways: gateways.slice(0, count),
    });
    fib.apply([wide(GATEWAYS_MAX)], []);
    refuses(fib, () => fib.apply([wide(GATEWAYS_MAX + 1)], []));
  });

  test('PEERS_MAX gateways, GROUPS_MAX groups, and what went makes room once no reader holds it', () => {
    const fib = new Fib();
    const single = Array.from({ length: PEERS_MAX }, (_, i) => entryAt(i, 'west', 1 + i));
    fib.apply(single, []);
    assert.equal(fib.stats().peers, PEERS_MAX);
    refuses(fib, () => fib.apply([entryAt(PEERS_MAX, 'west', 1 + PEERS_MAX)], []));
    const rest = GROUPS_MAX - REMOTE_GROUP_MIN - PEERS_MAX;
    fib.apply(
      Array.from({ length: rest }, (_, i) => entryAt(PEERS_MAX + i, 'west', 1 + i, 2)),
      [],
    );
    refuses(fib, () =>
      fib.apply([entryAt(0, 'west', 1 + rest, 2), entryAt(GROUPS_MAX, 'west', 2 + rest, 2)], []),
    );
    enterEpoch(fib.words, 0);
    fib.apply([], [single[5]!.cidr, single[6]!.cidr]);
    const late = [entryAt(5, 'west', 1, 3)];
    refuses(fib, () => fib.apply(late, []));
    leaveEpoch(fib.words, 0);
    fib.apply(late, []);
    assert.equal(fib.stats().groups, GROUPS_MAX - REMOTE_GROUP_MIN - 1);
  });

  test('PREFIXES_MAX prefixes', () => {
    const fib = new Fib();
    const { gateways } = entryAt(0, 'west', 1);
    const host = (i: number): FibEntry => ({
      cidr: { address: 0x0a00_0000 + i, prefixLength: 32 },
      cluster: 'west',
      gateways,
    });
    fib.replace(Array.from({ length: PREFIXES_MAX }, (_, i) => host(i)));
    assert.equal(fib.stats().prefixes, PREFIXES_MAX);
    refuses(fib, () => fib.apply([host(PREFIXES_MAX)], []));
    refuses(fib, () => fib.setLocal([{ address: 0, prefixLength: 8 }]));
    fib.apply([host(PREFIXES_MAX)], [host(0).cidr]);
    assert.equal(fib.stats().prefixes, PREFIXES_MAX);
    const many = new Array<FibEntry>(PREFIXES_MAX + 1).fill(host(0));
    refuses(fib, () => fib.replace(many));
  });

  test('LOCAL_CIDRS_MAX local CIDRs', () => {
    const fib = smallFib();
    const local = Array.from({ length: LOCAL_CIDRS_MAX + 1 }, (_, i) => entryAt(i, '', 1).cidr);
    fib.setLocal(local.slice(1));
    refuses(fib, () => fib.setLocal(local));
    assert.equal(fib.find(0x0a00_0000), undefined);
    assert.equal(fib.find(0x0a00_0000 + LOCAL_CIDRS_MAX * 256), 'local');
  });
});

describe('a full arena', () => {
  test('is reported before anything changed, and room that is made can be used', () => {
    const prng = new Prng(SEED);
    const fib = new Fib({ capacityBytes: 64 * 1024 });
    const random = (): FibEntry => ({
      ...entryAt(0, 'west', 1 + prng.below(3)),
      cidr: { address: prng.u32(), prefixLength: 32 },
    });
    const kept: FibEntry[] = [];
    for (let refusals = 0; refusals < 20; ) {
      const batch = Array.from({ length: 1 + prng.below(60) }, random);
      try {
        fib.apply(batch, []);
        kept.push(...batch);
      } catch {
        refusals += 1;
        refuses(fib, () => fib.apply(batch, []));
        refuses(fib, () => fib.replace(Array.from({ length: 2000 }, random)));
      }
    }
    for (const { cidr, cluster } of kept) {
      const found = fib.find(cidr.address);
      assert.ok(found !== undefined && found !== 'local' && found.entry.cluster === cluster);
    }
    fib.apply(
      [],
      kept.slice(0, kept.length / 2).map((each) => each.cidr),
    );
    fib.apply(Array.from({ length: 10 }, random), []);
    checkBlocks(fib);
  });

  test('refuses one more set of gateways, even in exchange for one, and an allow-list', () => {
    const fib = new Fib({ capacityBytes: ARENA_BYTES_MIN });
    const pair = (i: number) => entry(`10.${i}.0.0/16`, 'west', '172.31.0.1', `172.31.1.${i}`);
    let fitting = 0;
    assert.throws(() => {
      for (;;) fib.apply([pair(fitting++)], []);
    }, full);
    refuses(fib, () => fib.apply([pair(200)], []));
    assert.equal(fib.stats().groups, fitting - 1);
    refuses(fib, () => fib.configure({ ...someSettings, allowedSources: Array(64).fill(pair(0).cidr) }));
    refuses(fib, () => fib.apply([pair(200)], [pair(0).cidr]));
    fib.apply([], [pair(0).cidr]);
    fib.apply([pair(200)], []);
  });

  test('keeps its size between ARENA_BYTES_MIN and ARENA_BYTES_MAX', () => {
    assert.throws(() => new Fib({ capacityBytes: ARENA_BYTES_MIN - 1 }), /ARENA_BYTES_MIN/);
    assert.throws(() => new Fib({ capacityBytes: ARENA_BYTES_MAX + 1 }), /ARENA_BYTES_MAX/);
    assert.ok(new Fib({ capacityBytes: ARENA_BYTES_MAX }).stats().bytesCapacity > ARENA_BYTES_MAX);
  });
});
