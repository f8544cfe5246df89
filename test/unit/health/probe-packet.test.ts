import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseAddress } from '../../../src/base/address.ts';
import { addressAt6, parseAddress6 } from '../../../src/base/address6.ts';
import { readProbe, writeProbe, writeProbe6 } from '../../../src/health/probe-packet.ts';
import { foldSum, sumBytes } from '../../../src/packet/checksum.ts';
import { checkFou, fouPayload } from '../../../src/packet/fou.ts';
import { IPIP_ENCAPSULATION_BYTES } from '../../../src/packet/ipip.ts';
import { checkInner, checkOuter, IPV4, PROTOCOL } from '../../../src/packet/ipv4.ts';
import { checkInner6, checkOuter6, totalLength6 } from '../../../src/packet/ipv6.ts';
import { isProbe, isProbe6, PROBE_BYTES_MIN, PROBE_KIND } from '../../../src/packet/probe.ts';
import { VERDICT } from '../../../src/packet/verdict.ts';
import { transportError } from '../../sim/oracle/wire6.ts';

const OURS = parseAddress('172.31.0.1');
const PEER = parseAddress('172.31.0.2');
const INNER = IPIP_ENCAPSULATION_BYTES;

function written(kind: number, lengthBytes: number, sequence = 7): Uint8Array {
  const bytes = new Uint8Array(lengthBytes).fill(0xee);
  const probe = { kind, outerBytes: lengthBytes, keyHigh: 0xdead_beef, keyLow: 0x8000_0001, sequence };
  assert.equal(writeProbe(new DataView(bytes.buffer), bytes, OURS, PEER, probe, lengthBytes), lengthBytes);
  return bytes;
}

test('what is written is a whole packet with right checksums, and is read back', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...Object.values(PROBE_KIND)),
      fc.integer({ min: PROBE_BYTES_MIN, max: 9000 }),
      fc.integer({ min: 0, max: 0xffff_ffff }),
      (kind, lengthBytes, sequence) => {
        const bytes = written(kind, lengthBytes, sequence);
        assert.equal(checkOuter(bytes, 0, lengthBytes, PROTOCOL.IPIP), VERDICT.FORWARD);
        assert.equal(checkInner(bytes, INNER, lengthBytes - INNER), VERDICT.FORWARD);
        assert.equal(isProbe(bytes, INNER), 1);
        const udp = INNER + IPV4.HEADER_BYTES;
        const pseudo = sumBytes(bytes, INNER + IPV4.SOURCE, 8) + 17 + (lengthBytes - udp);
        assert.equal(foldSum(pseudo + sumBytes(bytes, udp, lengthBytes - udp)), 0xffff);
        assert.deepEqual(readProbe(bytes, INNER), {
          ...{ kind, outerBytes: lengthBytes, keyHigh: 0xdead_beef, keyLow: 0x8000_0001, sequence },
        });
      },
    ),
  );
});

test('for a peer that takes fou it is in a datagram to its port, of the same size in all', () => {
  const bytes = new Uint8Array(1400);
  const probe = { kind: PROBE_KIND.REQUEST, outerBytes: 1400, keyHigh: 1, keyLow: 2, sequence: 3 };
  const outer = { ttl: 64, dscp: 0, udpPort: 5556 } as const;
  assert.equal(writeProbe(new DataView(bytes.buffer), bytes, OURS, PEER, probe, 1400, outer), 1400);
  assert.equal(checkOuter(bytes, 0, 1400, PROTOCOL.UDP), VERDICT.FORWARD);
  assert.equal(checkFou(bytes, 0, 20, 1380, 5556), VERDICT.FORWARD);
  assert.equal(checkInner(bytes, 28, fouPayload(bytes, 20)), VERDICT.FORWARD);
  assert.equal(fouPayload(bytes, 20), 1372);
  assert.deepEqual(readProbe(bytes, 28), probe);
});

test('a reflected probe is addressed from us to us, the others to the peer, all in an outer packet to the peer with DF', () => {
  const view = (bytes: Uint8Array) => new DataView(bytes.buffer);
  for (const [kind, destination] of [
    [PROBE_KIND.REQUEST, PEER],
    [PROBE_KIND.REPLY, PEER],
    [PROBE_KIND.REFLECTED, OURS],
  ] as const) {
    const packet = view(written(kind, PROBE_BYTES_MIN));
    assert.equal(packet.getUint32(IPV4.SOURCE), OURS);
    assert.equal(packet.getUint32(IPV4.DESTINATION), PEER);
    assert.equal(packet.getUint16(IPV4.FRAGMENT), IPV4.DF);
    assert.equal(packet.getUint32(INNER + IPV4.SOURCE), OURS);
    assert.equal(packet.getUint32(INNER + IPV4.DESTINATION), destination);
  }
});

test('its outer header is like that of the packets: TTL and DSCP as configured', () => {
  const bytes = new Uint8Array(PROBE_BYTES_MIN);
  const probe = { kind: PROBE_KIND.REQUEST, outerBytes: PROBE_BYTES_MIN, keyHigh: 1, keyLow: 2, sequence: 3 };
  const write = (ttl: number | 'inherit', dscp: number | 'inherit') => {
    writeProbe(new DataView(bytes.buffer), bytes, OURS, PEER, probe, PROBE_BYTES_MIN, {
      ttl,
      dscp,
      udpPort: 0,
    });
    return [bytes[IPV4.TTL], bytes[IPV4.TOS]];
  };
  assert.deepEqual(write(3, 46), [3, 46 << 2]);
  assert.deepEqual(write('inherit', 'inherit'), [64, 48 << 2], 'CS6');
});

test('no other packet is a probe', () => {
  const changes: readonly [what: string, change: (bytes: Uint8Array) => void][] = [
    ['protocol', (bytes) => bytes.fill(6, INNER + IPV4.PROTOCOL, INNER + IPV4.PROTOCOL + 1)],
    ['options', (bytes) => bytes.fill(0x46, INNER, INNER + 1)],
    ['a fragment', (bytes) => bytes.fill(0x20, INNER + IPV4.FRAGMENT, INNER + IPV4.FRAGMENT + 1)],
    ['too short', (bytes) => bytes.fill(40, INNER + IPV4.TOTAL_LENGTH + 1, INNER + IPV4.TOTAL_LENGTH + 2)],
    ['port', (bytes) => bytes.fill(1, INNER + 22, INNER + 23)],
    ['magic', (bytes) => bytes.fill(1, INNER + 28, INNER + 29)],
    ['the end of the magic', (bytes) => bytes.fill(1, INNER + 31, INNER + 32)],
  ];
  for (const [what, change] of changes) {
    const bytes = written(PROBE_KIND.REQUEST, PROBE_BYTES_MIN);
    change(bytes);
    assert.equal(isProbe(bytes, INNER), 0, what);
  }
  const newer = written(PROBE_KIND.REQUEST, PROBE_BYTES_MIN);
  newer[INNER + 32] = 2;
  assert.equal(readProbe(newer, INNER), undefined, 'another version');
});

test('on an IPv6 underlay it is a whole packet of IPv6 in IPv6, with the checksum that UDP must have there, and is read back', () => {
  const [ours, peer] = [parseAddress6('2001:db8::1'), parseAddress6('2001:db8:0:ffff::2')];
  fc.assert(
    fc.property(
      fc.constantFrom(...Object.values(PROBE_KIND)),
      fc.integer({ min: PROBE_BYTES_MIN, max: 9000 }),
      fc.integer({ min: 0, max: 0xffff_ffff }),
      (kind, lengthBytes, sequence) => {
        const bytes = new Uint8Array(lengthBytes).fill(0xee);
        const probe = { kind, outerBytes: lengthBytes, keyHigh: 0xdead_beef, keyLow: 0x8000_0001, sequence };
        const view = new DataView(bytes.buffer);
        assert.equal(writeProbe6(view, bytes, ours, peer, probe, lengthBytes), lengthBytes);
        assert.equal(checkOuter6(bytes, 0, lengthBytes), VERDICT.FORWARD);
        assert.equal(totalLength6(bytes, 0), lengthBytes);
        assert.deepEqual([bytes[6], addressAt6(bytes, 8), addressAt6(bytes, 24)], [41, ours, peer]);
        assert.equal(checkInner6(bytes, 40, lengthBytes - 40), VERDICT.FORWARD);
        const to = kind === PROBE_KIND.REFLECTED ? ours : peer;
        assert.deepEqual([addressAt6(bytes, 48), addressAt6(bytes, 64)], [ours, to]);
        assert.equal(isProbe6(bytes, 40), 1);
        assert.equal(transportError(bytes.subarray(40)), 0);
        assert.deepEqual(readProbe(bytes, 40), probe);
        bytes[46] = 6;
        assert.equal(isProbe6(bytes, 40), 0);
      },
    ),
  );
});
