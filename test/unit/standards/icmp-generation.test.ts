import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { ICMP_BURST, SOURCE_ICMP_BURST, SOURCE_ICMP_PER_SECOND } from '../../../src/dataplane/icmp-queue.ts';
import { PathMtuTable } from '../../../src/health/path-mtu.ts';
import { get16 } from '../../sim/oracle/wire.ts';
import { POD, packet, Rig, STRANGER, WEST_1 } from '../dataplane/rig.ts';

/** What we may send ICMP about, and how: RFC 1812 §4.3, RFC 1122 §3.2.2, RFC 1191; a test a row of docs/standards.md. */

/** ICMP errors about packets that no route leads anywhere. */
function answers(...packets: Uint8Array[]): number {
  const rig = new Rig();
  rig.outbound(...packets);
  assert.equal(rig.total('OUTBOUND_RECEIVED'), packets.length);
  return rig.icmp().length;
}

const lost = (change: Parameters<typeof packet>[0], length?: number) =>
  packet({ destination: STRANGER, ...change }, length);

test('G1 no ICMP error about an ICMP error, nor about an ICMP type that nobody knows', () => {
  const message = (type: number) => Uint8Array.of(type, 0, 0, 0, 0, 0, 0, 0);
  for (const type of [3, 4, 5, 11, 12, 44])
    assert.equal(answers(lost({ protocol: 1, payload: message(type) })), 0);
  for (const type of [0, 8, 13]) assert.equal(answers(lost({ protocol: 1, payload: message(type) })), 1);
});

test('G2 no ICMP error about a fragment other than the first', () => {
  assert.equal(answers(lost({ offsetUnits: 1, dontFragment: false })), 0);
  assert.equal(answers(lost({ moreFragments: true, dontFragment: false })), 1);
});

test('G3 no ICMP error about a packet to a multicast or broadcast address', () => {
  for (const destination of ['224.0.0.1', '239.1.1.1', '255.255.255.255'])
    assert.equal(answers(packet({ destination: parseAddress(destination) })), 0);
});

test('G4 no ICMP error to a source that is no single host', () => {
  for (const source of ['0.0.0.0', '127.0.0.1', '224.0.0.1', '240.0.0.1', '255.255.255.255'])
    assert.equal(answers(lost({ source: parseAddress(source) })), 0);
});

test('G5 an ICMP error quotes as much as 576 bytes hold, headers included, and a shorter packet whole', () => {
  const quoted = (length: number) => {
    const rig = new Rig();
    rig.outbound(lost({}, length));
    const [{ destination, message } = assert.fail('no ICMP')] = rig.icmp();
    assert.equal(destination, POD);
    return message.length - 8;
  };
  assert.equal(quoted(100), 100);
  assert.equal(quoted(548), 548);
  assert.equal(quoted(1480), 548);
});

test('G6 ICMP errors are limited, in a burst and in the long run, for all and for one source, and those left out are counted', () => {
  const rig = new Rig();
  const send = (count: number, sources: number) => {
    for (let i = 0; i < count; i++) rig.outbound(lost({ source: POD + (i % sources) }));
    return rig.icmp().length;
  };
  assert.equal(send(ICMP_BURST + 10, 1), SOURCE_ICMP_BURST);
  assert.equal(send(1000, 500), ICMP_BURST - SOURCE_ICMP_BURST);
  assert.equal(rig.total('ICMP_SUPPRESSED'), 1010);
  rig.clock.ms += 10;
  assert.equal(send(100, 1), (10 * SOURCE_ICMP_PER_SECOND) / 1000);
});

test('G7 the next-hop MTU that we tell is never below 68, nor is one below 576 + 20 believed', () => {
  const table = new PathMtuTable();
  assert.equal(table.report(WEST_1, 595, 1500, 0), undefined);
  assert.equal(table.report(WEST_1, 68, 1500, 0), undefined);
  assert.deepEqual(table.report(WEST_1, 596, 1500, 0), { peer: WEST_1, pathMtuBytes: 596 });
  const rig = new Rig();
  rig.learn(WEST_1, 596);
  rig.outbound(packet({}, 1000));
  assert.equal(get16(rig.icmp()[0]!.message, 6), 576);
});

test('G8 a path MTU that only ICMP told of is forgotten after ten minutes, and no sooner', () => {
  const table = new PathMtuTable();
  table.report(WEST_1, 1400, 1500, 0);
  assert.deepEqual(table.expire(10 * 60_000 - 1), []);
  assert.deepEqual(table.expire(10 * 60_000), [{ peer: WEST_1, pathMtuBytes: 0 }]);
});
