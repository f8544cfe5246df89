import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { FRAGMENTS_MAX } from '../../../src/dataplane/slab.ts';
import {
  buildIpv4,
  checksumOf,
  get16,
  onesSum,
  parseIpv4,
  put16,
  sealHeader,
} from '../../sim/oracle/wire.ts';
import {
  NORTH,
  NORTH_POD,
  OURS,
  POD,
  packet,
  Rig,
  STRANGER,
  WEST_1,
  WEST_2,
  WEST_SHARED_POD,
} from './rig.ts';

/** A TCP SYN whose MSS option says `mss`, with a right checksum over its pseudo header. */
function syn(mss: number, source: number, destination: number): Uint8Array {
  const segment = new Uint8Array(24);
  segment.set([0x9c, 0x40, 1, 0xbb]);
  segment.set([0x60, 2], 12);
  segment.set([2, 4], 20);
  put16(segment, 22, mss);
  put16(segment, 16, checksumOf(pseudoHeader(segment, source, destination)));
  return segment;
}

function pseudoHeader(segment: Uint8Array, source: number, destination: number): Uint8Array {
  const { length } = segment;
  const head = buildIpv4({ source, destination }).subarray(12, 20);
  return Uint8Array.from([...head, 0, 6, Math.floor(length / 256), length % 256, ...segment]);
}

/** Puts the pieces of a packet together again, as RFC 791 §3.2 says, and checks that each is where it must be. */
function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const parsed = pieces.map(parseIpv4);
  let next = 0;
  for (const [index, piece] of parsed.entries()) {
    assert.equal(piece.offsetUnits * 8, next);
    assert.equal(piece.moreFragments, index < parsed.length - 1);
    assert.equal(onesSum(pieces[index]!, 0, 20 + piece.options.length), 0xffff);
    next += piece.payload.length;
  }
  return buildIpv4({
    ...parsed[0]!,
    moreFragments: false,
    payload: Buffer.concat(parsed.map((one) => one.payload)),
  });
}

describe('what leaves for the underlay', () => {
  test('is the packet, bit for bit, behind a header from us to the gateway (RFC 2003 §3.1)', () => {
    const inner = packet();
    const [outer, ...rest] = new Rig().outbound(inner);
    assert.equal(rest.length, 0);
    assert.deepEqual(outer!.slice(20), inner);
    assert.equal(onesSum(outer!, 0, 20), 0xffff);
    const header = parseIpv4(outer!);
    assert.deepEqual(
      { ...header, id: 0, payload: 0, options: header.options.length },
      {
        ...{ tos: 0, id: 0, dontFragment: true, moreFragments: false, offsetUnits: 0, ttl: 64, protocol: 4 },
        ...{ source: OURS, destination: WEST_1, options: 0, payload: 0 },
      },
    );
  });

  test('is only as long as the inner header says, whatever the device delivered behind it', () => {
    const inner = packet();
    const [outer] = new Rig().outbound(Uint8Array.from([...inner, 1, 2, 3]));
    assert.deepEqual(outer!.slice(20), inner);
  });

  test('carries options inside and never outside (RFC 2003 §3.1)', () => {
    const inner = packet({ options: Uint8Array.of(0x94, 4, 0, 0) });
    const [outer] = new Rig().outbound(inner);
    assert.equal(outer![0], 0x45);
    assert.deepEqual(outer!.slice(20), inner);
  });

  test('has the configured TTL, or with "inherit" that of the inner packet, which nobody decrements again', () => {
    assert.equal(new Rig({ settings: { ttl: 9 } }).outbound(packet())[0]![8], 9);
    const [outer] = new Rig({ settings: { ttl: 'inherit' } }).outbound(packet({ ttl: 1 }));
    assert.equal(outer![8], 1);
    assert.equal(outer![28], 1);
  });

  test('has the inner DSCP or the configured one, and the inner ECN field but in compatibility mode', () => {
    const tos = (settings: object): number => new Rig({ settings }).outbound(packet({ tos: 0xba }))[0]![1]!;
    assert.equal(tos({}), 0xba);
    assert.equal(tos({ dscp: 0 }), 0x02);
    assert.equal(tos({ dscp: 63 }), 0xfe);
    assert.equal(tos({ ecn: 'compatibility' }), 0xb8);
  });

  test('has DF set when the inner packet has it; without it only where outer fragments are wanted is DF clear', () => {
    const flags = (fragment: 'inner' | 'outer', dontFragment: boolean): boolean =>
      parseIpv4(new Rig({ settings: { fragment } }).outbound(packet({ dontFragment }))[0]!).dontFragment;
    assert.equal(flags('inner', true), true);
    assert.equal(flags('outer', true), true);
    assert.equal(flags('inner', false), true);
    assert.equal(flags('outer', false), false);
  });

  for (const engines of [1, 2, 3, 5]) {
    test(`has an ID that is never 0, that comes again last, and that no other of ${engines} engines uses (RFC 6864)`, () => {
      const seen = new Set<number>();
      const block = Math.floor(65_536 / engines);
      for (let engine = 0; engine < engines; engine++) {
        const rig = new Rig({ engine, engines });
        // The first block lacks 0.
        const own = engine === 0 ? block - 1 : block;
        const ids: number[] = [];
        while (ids.length < own + 64) {
          const sent = rig.outbound(...Array.from({ length: 64 }, () => packet({}, 28)));
          for (const outer of sent) ids.push(get16(outer, 4));
        }
        for (const id of ids.slice(0, own)) {
          assert.equal(seen.has(id), false);
          seen.add(id);
        }
        assert.deepEqual(ids.slice(own, own + 64), ids.slice(0, 64));
      }
      assert.equal(seen.has(0), false);
      assert.equal(seen.size, engines * block - 1);
    });
  }

  test('is counted in inner bytes, for all and for the peer', () => {
    const rig = new Rig();
    rig.outbound(packet({}, 100), packet({}, 50));
    assert.equal(rig.total('OUTBOUND_RECEIVED'), 2);
    assert.equal(rig.total('OUTBOUND_PACKETS'), 2);
    assert.equal(rig.total('OUTBOUND_BYTES'), 150);
    assert.equal(rig.peer(WEST_1, 'OUTBOUND_PACKETS'), 2);
    assert.equal(rig.peer(WEST_1, 'OUTBOUND_BYTES'), 150);
    assert.equal(rig.peer(WEST_2, 'OUTBOUND_PACKETS'), 0);
  });
});

describe('the choice of a gateway', () => {
  const flow = (port: number): Uint8Array =>
    packet({ destination: WEST_SHARED_POD, payload: Uint8Array.of(0, port, 0, 80) });

  test('is the same for all packets of a flow, and both gateways of a route get flows', () => {
    const rig = new Rig();
    const used = new Set<number>();
    for (let port = 0; port < 64; port++) {
      const to = rig.outbound(flow(port), flow(port)).map((outer) => parseIpv4(outer).destination);
      assert.equal(to[0], to[1]);
      used.add(to[0]!);
    }
    assert.deepEqual([...used].sort(), [WEST_1, WEST_2]);
  });

  test('moves only the flows of a gateway that is no longer alive, and they come back with it', () => {
    const rig = new Rig();
    const ports = Array.from({ length: 64 }, (_, port) => port);
    const choices = (): number[] => ports.map((port) => parseIpv4(rig.outbound(flow(port))[0]!).destination);
    const before = choices();
    rig.fib.setPeer(WEST_2, { alive: false });
    assert.deepEqual(
      choices(),
      ports.map(() => WEST_1),
    );
    rig.fib.setPeer(WEST_2, { alive: true });
    assert.deepEqual(choices(), before);
  });

  test('is the same for all fragments of a datagram, which have no ports but in the first', () => {
    const rig = new Rig();
    for (let id = 0; id < 32; id++) {
      const host = WEST_SHARED_POD + id;
      const first = packet({ destination: host, dontFragment: false, moreFragments: true, id });
      const second = packet({ destination: host, dontFragment: false, offsetUnits: 10, id });
      const to = rig.outbound(first, second).map((outer) => parseIpv4(outer).destination);
      assert.equal(to[0], to[1]);
    }
  });
});

describe('a packet from a host is dropped, for one reason that is counted,', () => {
  const broken = (change: (bytes: Uint8Array) => void): Uint8Array => {
    const bytes = packet();
    change(bytes);
    return bytes;
  };
  const cases: readonly [reason: string, bytes: Uint8Array][] = [
    ['inner-truncated', packet().subarray(0, 19)],
    ['inner-truncated', packet().subarray(0, 99)],
    ['inner-version', broken((bytes) => (bytes[0] = 0x55))],
    ['inner-malformed', broken((bytes) => (bytes[0] = 0x44))],
    ['inner-malformed', broken((bytes) => put16(bytes, 2, 19))],
    ['inner-checksum', broken((bytes) => (bytes[12] = 77))],
    ['inner-ttl', packet({ ttl: 0 })],
    ['loop', packet({ source: OURS })],
    ['loop', packet({ source: WEST_1 })],
  ];
  for (const [reason, bytes] of cases) {
    test(`as ${reason}: ${Buffer.from(bytes.subarray(0, 20)).toString('hex')}, ${bytes.length} bytes`, () => {
      const rig = new Rig();
      assert.deepEqual(rig.outbound(bytes), []);
      assert.deepEqual(rig.drops(), { [`outbound ${reason}`]: 1 });
      assert.deepEqual(rig.icmp(), []);
      assert.equal(rig.total('OUTBOUND_RECEIVED'), 1);
      assert.equal(rig.total('OUTBOUND_PACKETS'), 0);
    });
  }

  test('as loop when it goes to the very gateway that would carry it', () => {
    const rig = new Rig();
    rig.fib.apply(
      [
        {
          cidr: { address: WEST_1, prefixLength: 32 },
          cluster: 'west',
          gateways: [{ address: WEST_1, weight: 1 }],
        },
      ],
      [],
    );
    assert.deepEqual(rig.outbound(packet({ destination: WEST_1 })), []);
    assert.deepEqual(rig.drops(), { 'outbound loop': 1 });
    assert.equal(rig.peer(WEST_1, 'OUTBOUND_DROPS'), 1);
  });

  for (const [where, destination] of [
    ['nobody has a route for', STRANGER],
    ['is local', POD + 1],
  ] as const) {
    test(`as no-route where the destination ${where}, and its sender hears net-unreachable`, () => {
      const rig = new Rig();
      const bytes = packet({ destination });
      assert.deepEqual(rig.outbound(bytes), []);
      assert.deepEqual(rig.drops(), { 'outbound no-route': 1 });
      const [error, ...rest] = rig.icmp();
      assert.equal(rest.length, 0);
      assert.equal(error!.destination, POD);
      assert.deepEqual([...error!.message.slice(0, 2)], [3, 0]);
      assert.deepEqual(error!.message.slice(8), bytes);
      assert.equal(onesSum(error!.message), 0xffff);
      assert.equal(rig.total('ICMP_QUEUED'), 1);
    });
  }

  test('as no-gateway where the route has none alive, and its sender hears host-unreachable', () => {
    const rig = new Rig();
    rig.fib.setPeer(NORTH, { alive: false });
    assert.deepEqual(rig.outbound(packet({ destination: NORTH_POD })), []);
    assert.deepEqual(rig.drops(), { 'outbound no-gateway': 1 });
    assert.deepEqual([...rig.icmp()[0]!.message.slice(0, 2)], [3, 1]);
  });

  test('as no-route without any answer to an ICMP error, a later fragment or a multicast destination', () => {
    const rig = new Rig();
    const to = { destination: STRANGER, dontFragment: false };
    rig.outbound(
      packet({ ...to, protocol: 1, payload: Uint8Array.of(11, 0, 0, 0) }),
      packet({ ...to, offsetUnits: 1 }),
      packet({ destination: parseAddress('224.0.0.1') }),
      packet({ ...to, source: parseAddress('127.0.0.1') }),
    );
    assert.deepEqual(rig.drops(), { 'outbound no-route': 4 });
    assert.deepEqual(rig.icmp(), []);
    assert.equal(rig.total('ICMP_SUPPRESSED'), 0);
  });

  test('as too-big with DF set above the link MTU, and its sender hears how much fits', () => {
    const rig = new Rig();
    assert.equal(rig.outbound(packet({}, 1480)).length, 1);
    assert.deepEqual(rig.outbound(packet({}, 1481)), []);
    assert.deepEqual(rig.drops(), { 'outbound too-big': 1 });
    assert.equal(rig.peer(WEST_1, 'OUTBOUND_DROPS'), 1);
    const [error] = rig.icmp();
    assert.deepEqual([...error!.message.slice(0, 2)], [3, 4]);
    assert.equal(get16(error!.message, 6), 1480);
    assert.equal(error!.message.length, 556);
  });

  test('as no-buffer when it would make more fragments than one packet may', () => {
    const rig = new Rig({ settings: { linkMtuBytes: 300 } });
    const fits = 256 * FRAGMENTS_MAX + 20;
    assert.equal(rig.outbound(packet({ dontFragment: false }, fits)).length, FRAGMENTS_MAX);
    assert.deepEqual(rig.outbound(packet({ dontFragment: false }, fits + 8)), []);
    assert.deepEqual(rig.drops(), { 'outbound no-buffer': 1 });
  });

  test('as too-big when not even 8 bytes fit behind its header', () => {
    const rig = new Rig({ settings: { linkMtuBytes: 68 } });
    const options = new Uint8Array(40).fill(1);
    assert.deepEqual(rig.outbound(packet({ dontFragment: false, options })), []);
    assert.deepEqual(rig.drops(), { 'outbound too-big': 1 });
  });

  test('as too-big when outer fragments are wanted and the outer packet would exceed 65,535 bytes', () => {
    const rig = new Rig({ settings: { fragment: 'outer' } });
    assert.ok(rig.outbound(packet({ dontFragment: false }, 65_515)).length > 1);
    assert.deepEqual(rig.outbound(packet({ dontFragment: false }, 65_516)), []);
    assert.deepEqual(rig.drops(), { 'outbound too-big': 1 });
  });
});

describe('a learned path MTU', () => {
  test('is soft: with DF set the sender is told and the packet goes out all the same (RFC 2003 §5)', () => {
    const rig = new Rig();
    rig.fib.setPeer(WEST_1, { pathMtuBytes: 1400 });
    const bytes = packet({}, 1381);
    assert.deepEqual(rig.outbound(bytes)[0]!.slice(20), bytes);
    assert.equal(get16(rig.icmp()[0]!.message, 6), 1380);
    assert.equal(rig.total('SOFT_STATE_EXCEEDED'), 1);
    assert.deepEqual(rig.drops(), {});
    assert.equal(rig.outbound(packet({}, 1380)).length, 1);
    assert.equal(rig.total('SOFT_STATE_EXCEEDED'), 1);
  });

  test('above the MTU of the link means nothing', () => {
    const rig = new Rig();
    rig.fib.setPeer(WEST_1, { pathMtuBytes: 9000 });
    assert.deepEqual(rig.outbound(packet({}, 1481)), []);
    assert.equal(get16(rig.icmp()[0]!.message, 6), 1480);
  });
});

describe('a packet that does not fit and may be fragmented', () => {
  test('is fragmented before encapsulation: each piece fits, DF outside is set, and together they are the packet', () => {
    const rig = new Rig();
    const bytes = packet({ dontFragment: false }, 4000);
    const outers = rig.outbound(bytes);
    assert.equal(outers.length, 3);
    for (const outer of outers) {
      assert.ok(outer.length <= 1500);
      const { destination, dontFragment, source } = parseIpv4(outer);
      assert.deepEqual([source, destination, dontFragment], [OURS, WEST_1, true]);
    }
    assert.deepEqual(joined(outers.map((outer) => outer.slice(20))), bytes);
    assert.equal(rig.total('FRAGMENTED'), 1);
    assert.equal(rig.total('FRAGMENTS'), 3);
    assert.equal(rig.total('OUTBOUND_PACKETS'), 3);
  });

  test('is fragmented behind encapsulation where that is configured: the pieces are one outer packet', () => {
    const rig = new Rig({ settings: { fragment: 'outer' } });
    const bytes = packet({ dontFragment: false }, 4000);
    const outers = rig.outbound(bytes);
    assert.ok(outers.every((outer) => outer.length <= 1500 && !parseIpv4(outer).dontFragment));
    assert.deepEqual(joined(outers).slice(20), bytes);
  });

  test('keeps copied options in every piece and the others in the first', () => {
    const options = Uint8Array.of(0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0);
    const outers = new Rig().outbound(
      packet({ dontFragment: false, options, payload: new Uint8Array(3000) }),
    );
    const inner = outers.map((outer) => parseIpv4(outer.slice(20)));
    assert.deepEqual(inner[0]!.options, options);
    for (const { options: copied } of inner.slice(1)) assert.deepEqual([...copied], [0x94, 4, 0, 0]);
  });

  test('fits the spare memory at its largest, with all options and at the smallest path MTU', () => {
    const rig = new Rig();
    rig.fib.setPeer(WEST_1, { pathMtuBytes: 596 });
    const options = new Uint8Array(40).fill(1);
    const bytes = packet({ dontFragment: false, options, payload: new Uint8Array(65_535 - 60).fill(0xa5) });
    const outers = rig.outbound(bytes);
    assert.deepEqual(rig.drops(), {});
    const payload = Buffer.concat(outers.map((outer) => parseIpv4(outer.slice(20)).payload));
    assert.deepEqual(new Uint8Array(payload), parseIpv4(bytes).payload);
  });
});

describe('the segment size of a SYN', () => {
  const mssOf = (rig: Rig, mss: number, destination = NORTH_POD): number => {
    const [outer] = rig.outbound(packet({ protocol: 6, destination, payload: syn(mss, POD, destination) }));
    const segment = parseIpv4(outer!.slice(20)).payload;
    assert.equal(onesSum(pseudoHeader(segment, POD, destination)), 0xffff, 'the TCP checksum is right');
    return get16(segment, 22);
  };

  test('is lowered to what the path carries, and never raised', () => {
    const rig = new Rig();
    assert.equal(mssOf(rig, 1460), 1440);
    assert.equal(mssOf(rig, 1440), 1440);
    assert.equal(mssOf(rig, 536), 536);
    assert.equal(rig.total('MSS_CLAMPED'), 1);
    rig.fib.setPeer(NORTH, { pathMtuBytes: 1280 });
    assert.equal(mssOf(rig, 1460), 1220);
  });

  test('stays where clamping is switched off', () => {
    assert.equal(mssOf(new Rig({ settings: { clampMss: false } }), 8960), 8960);
  });
});

test('a header whose checksum is written as 0xffff is as good as one with 0', () => {
  // The one's complement zero has two forms; a sender may use either where the rest of the header sums to 0xffff.
  const bytes = packet();
  put16(bytes, 4, 0);
  sealHeader(bytes);
  put16(bytes, 4, get16(bytes, 10));
  sealHeader(bytes);
  assert.equal(get16(bytes, 10), 0);
  put16(bytes, 10, 0xffff);
  assert.equal(new Rig().outbound(bytes).length, 1);
});
