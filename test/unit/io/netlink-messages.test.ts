import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { formatAddress, formatCidr, parseAddress, parseCidr } from '../../../src/base/address.ts';
import { parseAddress6 } from '../../../src/base/address6.ts';
import { IoError } from '../../../src/base/errors.ts';
import { readAddress, readLink } from '../../../src/io/netlink-link.ts';
import {
  HOP_WEIGHT_MAX,
  HOPS_MAX,
  type KernelRoute,
  readRoute,
  routeRequest,
} from '../../../src/io/netlink-route.ts';
import { readError } from '../../../src/io/netlink-socket.ts';
import { readNotice } from '../../../src/io/netlink-subscription.ts';
import {
  type Message,
  MessageReader,
  type MessageWriter,
  REQUEST_BYTES_MAX,
} from '../../../src/io/netlink-wire.ts';
import { acknowledgement, message } from './kernel-script.ts';

const SEED = 91;

function first(bytes: Uint8Array): Message {
  const [one] = new MessageReader(bytes, bytes.length).messages();
  assert.ok(one !== undefined);
  return one;
}

/** A route as the kernel sends it: header fields, then attributes. */
function routeMessage(prefixLength: number, attributes: (writer: MessageWriter) => void): Uint8Array {
  return message(24, 2, 7, 12, (writer, fixed) => {
    writer.u8(fixed, 2);
    writer.u8(fixed + 1, prefixLength);
    writer.u8(fixed + 4, 254);
    writer.u8(fixed + 5, 73);
    writer.u8(fixed + 7, 1);
    attributes(writer);
  });
}

/** struct rtnexthop within RTA_MULTIPATH; attributes may follow each. */
function multipath(writer: MessageWriter): void {
  const nested = writer.openNested(9);
  for (const [device, weight, gateway] of [
    [3, 1, '10.0.0.1'],
    [4, 5, '10.0.1.1'],
  ] as const) {
    // A hop's header has the shape of an attribute with four bytes of value: length, then flags and weight - 1, then the device.
    const hop = writer.length;
    writer.attributeU32((weight - 1) << 8, device);
    writer.attributeAddress(5, parseAddress(gateway));
    writer.u16(hop, writer.length - hop);
  }
  writer.closeNested(nested);
}

const MULTIPATH = routeMessage(16, (writer) => {
  writer.u32(writer.length - 4, 0);
  writer.attributeU32(15, 5000);
  writer.attributeAddress(1, parseAddress('10.2.0.0'));
  writer.attributeU32(6, 20);
  multipath(writer);
});

const LINK = message(16, 2, 7, 16, (writer, fixed) => {
  writer.u32(fixed + 4, 12);
  writer.u32(fixed + 8, 1);
  writer.attributeText(3, 'isthmus0');
  writer.attributeU32(4, 1480);
  writer.attributeU32(13, 5000);
  writer.attributeText(33, '');
  const info = writer.openNested(18);
  writer.attributeText(1, 'tun');
  writer.closeNested(info);
  writer.attributeText(999, 'an attribute of a later kernel');
});

const ADDRESS = message(20, 2, 7, 8, (writer, fixed) => {
  writer.u8(fixed, 2);
  writer.u8(fixed + 1, 32);
  writer.u32(fixed + 4, 12);
  writer.attributeAddress(1, parseAddress('10.9.9.9'));
  writer.attributeAddress(2, parseAddress('10.1.0.1'));
});

describe('messages of the kernel', () => {
  test('a link: name, MTU, queue length, state and kind, whatever else there is', () => {
    assert.deepEqual(readLink(first(LINK)), {
      index: 12,
      name: 'isthmus0',
      mtuBytes: 1480,
      txQueueLength: 5000,
      isUp: true,
      hasCarrier: false,
      isShared: false,
      kind: 'tun',
    });
  });

  test('a segment that many share is told from a point-to-point link by its flags', () => {
    const flagged = (flags: number) =>
      readLink(first(message(16, 2, 7, 16, (writer, fixed) => writer.u32(fixed + 8, flags))))?.isShared;
    // IFF_UP with IFF_BROADCAST, IFF_POINTOPOINT and IFF_NOARP, IFF_BROADCAST and IFF_NOARP.
    assert.deepEqual([0x3, 0x91, 0x83].map(flagged), [true, false, false]);
  });

  test('an address: on a point-to-point link, ours and not the far end', () => {
    assert.deepEqual(readAddress(first(ADDRESS)), {
      deviceIndex: 12,
      address: parseAddress('10.1.0.1'),
      prefixLength: 32,
    });
  });

  test('a route with several hops, their weights, and a table beyond 255', () => {
    const route = readRoute(first(MULTIPATH)) as KernelRoute;
    assert.equal(formatCidr(route.cidr), '10.2.0.0/16');
    assert.deepEqual([route.table, route.metric, route.protocol, route.deviceIndex], [5000, 20, 73, 0]);
    assert.deepEqual(
      route.hops.map((hop) => [hop.deviceIndex, hop.weight, formatAddress(hop.gateway!)]),
      [
        [3, 1, '10.0.0.1'],
        [4, 5, '10.0.1.1'],
      ],
    );
  });

  test('a default route has no destination attribute', () => {
    const route = readRoute(first(routeMessage(0, (writer) => writer.attributeU32(4, 2))));
    assert.deepEqual(route?.cidr, { address: 0, prefixLength: 0 });
    assert.equal(route?.deviceIndex, 2);
  });

  test('a route that only names a nexthop object has no hops', () => {
    const route = readRoute(first(routeMessage(24, (writer) => writer.attributeU32(30, 17))));
    assert.deepEqual([route?.nexthopId, route?.hops], [17, []]);
  });

  test('a gateway that is an IPv6 address is told from none', () => {
    const route = readRoute(
      first(
        routeMessage(24, (writer) => {
          writer.attributeU32(4, 2);
          writer.attributeU32(18, 10);
        }),
      ),
    );
    assert.deepEqual(route?.hops, [{ deviceIndex: 2, gateway: undefined, isViaIpv6: true, weight: 1 }]);
  });

  test('a route of IPv6 is read with its gateway, which is none for us', () => {
    const ipv6 = message(24, 2, 7, 12, (writer, fixed) => {
      writer.u8(fixed, 10);
      writer.u8(fixed + 1, 48);
      writer.attributeAddress6(1, parseAddress6('fd00:2::'));
      writer.attributeAddress6(5, parseAddress6('fe80::1'));
      writer.attributeAddress6(7, parseAddress6('fd00:1::1'));
      writer.attributeU32(4, 3);
    });
    const route = readRoute(first(ipv6));
    assert.deepEqual(route?.cidr, parseCidr('fd00:2::/48'));
    assert.equal(route?.source, parseAddress6('fd00:1::1'));
    assert.deepEqual(route?.hops, [{ deviceIndex: 3, gateway: undefined, isViaIpv6: true, weight: 1 }]);
    const tooLong = message(24, 2, 7, 12, (writer, fixed) => {
      writer.u8(fixed, 10);
      writer.u8(fixed + 1, 129);
    });
    assert.throws(() => readRoute(first(tooLong)), /prefix length 129/);
  });

  test('messages of other kinds and families are passed over', () => {
    const other = message(24, 2, 7, 12, (writer, fixed) => writer.u8(fixed, 28));
    assert.equal(readRoute(first(other)), undefined);
    assert.equal(readRoute(first(LINK)), undefined);
    assert.equal(readNotice(first(message(99, 0, 0, 4, () => {}))), undefined);
  });

  test('an error carries its number and the words of the kernel', () => {
    assert.deepEqual(readError(first(acknowledgement(1, 17, 'File exists, says the kernel'))), {
      number: -17,
      text: 'File exists, says the kernel',
    });
    assert.deepEqual(readError(first(acknowledgement(1))), { number: 0, text: '' });
  });

  test('what is added as a row comes back as the same route', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 32 }),
        fc.nat(0xffff_ffff),
        fc.record({
          deviceIndex: fc.integer({ min: 1, max: 0x7fff_ffff }),
          gateway: fc.option(fc.integer({ min: 1, max: 0xffff_ffff }), { nil: undefined }),
          table: fc.integer({ min: 1, max: 0xffff_ffff }),
          metric: fc.nat(0xffff_ffff),
          protocol: fc.integer({ min: 1, max: 255 }),
          source: fc.option(fc.integer({ min: 1, max: 0xffff_ffff }), { nil: undefined }),
        }),
        (prefixLength, bits, rest) => {
          const mask = prefixLength === 0 ? 0 : (0xffff_ffff << (32 - prefixLength)) >>> 0;
          const row = { cidr: { address: (bits & mask) >>> 0, prefixLength }, ...rest };
          const request = routeRequest('add', row);
          const route = readRoute(first(message(request.type, 0, 1, request.fixedBytes, request.write)))!;
          const { cidr, table, metric, protocol, source, deviceIndex, gateway, type } = route;
          assert.deepEqual({ cidr, table, metric, protocol, source, deviceIndex, gateway }, { ...row });
          assert.equal(type, 1);
        },
      ),
      { seed: SEED },
    );
  });
});

describe('a route with several ways', () => {
  const base = { table: 254, metric: 99, protocol: 73, deviceIndex: 3, source: parseAddress('10.1.0.1') };

  test('comes back with the ways and weights that were written', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            gateway: fc.integer({ min: 1, max: 0xffff_ffff }),
            weight: fc.integer({ min: 1, max: HOP_WEIGHT_MAX }),
          }),
          { minLength: 2, maxLength: HOPS_MAX },
        ),
        (ways) => {
          const row = { ...base, cidr: { address: 0x0a02_0000, prefixLength: 16 }, ways };
          const request = routeRequest('replace', row);
          const bytes = message(request.type, 0, 1, request.fixedBytes, request.write);
          assert.ok(bytes.length <= REQUEST_BYTES_MAX);
          const route = readRoute(first(bytes))!;
          assert.deepEqual(
            route.hops,
            ways.map((way) => ({ deviceIndex: 3, isViaIpv6: false, ...way })),
          );
          assert.deepEqual([route.deviceIndex, route.metric, route.source], [0, 99, base.source]);
        },
      ),
      { seed: SEED, numRuns: 50 },
    );
  });

  test('is removed without naming them: whichever it has now', () => {
    const ways = [1, 2].map((gateway) => ({ gateway, weight: 1 }));
    const row = { ...base, deviceIndex: 0, cidr: { address: 0x0a02_0000, prefixLength: 16 }, ways };
    const request = routeRequest('remove', row);
    const route = readRoute(first(message(request.type, 0, 1, request.fixedBytes, request.write)))!;
    assert.deepEqual([route.hops, route.metric, route.protocol], [[], 99, 73]);
  });
});

describe('malformed messages', () => {
  const originals = [MULTIPATH, LINK, ADDRESS, acknowledgement(1, 17, 'words')];

  /** Everything that reads messages, on all of them. */
  function readAll(bytes: Uint8Array): number {
    let count = 0;
    for (const one of new MessageReader(bytes, bytes.length).messages()) {
      count++;
      readNotice(one);
      readRoute(one);
      readLink(one);
      readAddress(one);
      if (one.type === 2 || one.type === 3) readError(one);
    }
    return count;
  }

  test('whatever bytes are changed or cut off, reading ends, with an IoError at most', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...originals),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }),
        fc.nat(),
        (original, changes, cut) => {
          const bytes = Uint8Array.from([...original, ...original]);
          for (const [at, value] of changes) bytes[at % bytes.length] = value;
          const kept = bytes.subarray(0, cut % 3 === 0 ? cut % bytes.length : bytes.length);
          try {
            assert.ok(readAll(kept) <= kept.length / 16 + 1);
          } catch (error) {
            assert.ok(error instanceof IoError, String(error));
            assert.equal(error.errno, 'EBADMSG');
          }
        },
      ),
      { seed: SEED, numRuns: 3000 },
    );
  });

  test('a message or an attribute of length 0 is an error, not an endless loop', () => {
    assert.throws(() => readAll(new Uint8Array(64)), /malformed message: a message of 0 bytes/);
    const bytes = LINK.slice();
    bytes.fill(0, 32, 34);
    assert.throws(() => readAll(bytes), /an attribute of 0 bytes/);
  });

  test('a next hop shorter than its header is an error', () => {
    const bytes = routeMessage(24, (writer) => writer.attributeText(9, '1234567'));
    assert.throws(() => readAll(bytes), /a next hop of \d+ bytes/);
  });
});
