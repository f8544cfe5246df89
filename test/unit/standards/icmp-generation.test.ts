import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { ICMP_BURST, ICMP_PER_SECOND } from '../../../src/dataplane/icmp-queue.ts';
import { PATH_MTU_BYTES_MIN, PATH_MTU_EXPIRY_MS, PathMtuTable } from '../../../src/health/path-mtu.ts';
import { checksumOf, get16, type Ipv4 } from '../../sim/oracle/wire.ts';
import { packet, Rig, STRANGER, tunnelled, WEST_1 } from '../dataplane/rig.ts';
import { outgoing, WAYS } from './ways.ts';

/** When the gateway speaks ICMP itself, and how: RFC 1812 §4.3.2, RFC 1122 §3.2.2, RFC 1191, row by row of docs/standards.md. */

/** What is said about a packet that nobody has a route for. */
function answersTo(fields: Partial<Ipv4>): Uint8Array[] {
  const rig = new Rig();
  rig.outbound(packet({ destination: STRANGER, dontFragment: false, ...fields }));
  assert.deepEqual(rig.drops(), { 'outbound no-route': 1 });
  return rig.icmp().map(({ message }) => message);
}

test('G1 an ICMP error is never answered, an echo request is', () => {
  const message = (type: number): Partial<Ipv4> => ({ protocol: 1, payload: Uint8Array.of(type, 0, 0, 0) });
  for (const error of [3, 4, 5, 11, 12, 42]) assert.deepEqual(answersTo(message(error)), []);
  assert.equal(answersTo(message(8)).length, 1);
});

test('G2 only the first fragment of a packet is answered', () => {
  assert.equal(answersTo({ moreFragments: true }).length, 1);
  assert.deepEqual(answersTo({ offsetUnits: 1, moreFragments: true }), []);
  assert.deepEqual(answersTo({ offsetUnits: 1 }), []);
});

test('G3 a packet to many hosts is never answered', () => {
  for (const destination of ['224.0.0.1', '255.255.255.255'])
    assert.deepEqual(answersTo({ destination: parseAddress(destination) }), []);
});

test('G4 a packet whose source is not one host is never answered', () => {
  for (const source of ['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255'])
    assert.deepEqual(answersTo({ source: parseAddress(source) }), []);
});

test('G5 an error quotes as much of the packet as 576 bytes hold', () => {
  for (const options of WAYS) {
    const rig = new Rig();
    const inner = outgoing(options, {}, 1500);
    rig.outbound(inner);
    const [{ message } = assert.fail('no answer')] = rig.icmp();
    assert.equal(20 + message.length, 576);
    assert.deepEqual(message.slice(8), inner.slice(0, 548));
    assert.equal(checksumOf(message), 0);
  }
});

test('G6 errors are limited in rate', () => {
  const rig = new Rig();
  const provoke = (): number => {
    rig.outbound(...Array.from({ length: 200 }, () => packet({ destination: STRANGER })));
    return rig.icmp().length;
  };
  assert.equal(provoke(), ICMP_BURST);
  rig.clock.ms += 10;
  assert.equal(provoke(), ICMP_PER_SECOND / 100);
  assert.equal(rig.total('ICMP_SUPPRESSED'), 400 - ICMP_BURST - ICMP_PER_SECOND / 100);
});

test('G7 no path MTU is believed that would make a next-hop MTU of less than 576 bytes, let alone 68', () => {
  assert.equal(new PathMtuTable().report(WEST_1, PATH_MTU_BYTES_MIN - 1, 1500, 0), undefined);
  const rig = new Rig();
  rig.learn(WEST_1, PATH_MTU_BYTES_MIN);
  rig.outbound(packet({}, 1000));
  assert.equal(get16(rig.icmp()[0]!.message, 6), 576);
});

test('G8 a larger path MTU is tried no sooner than ten minutes after the last report', () => {
  const table = new PathMtuTable();
  table.report(WEST_1, 1400, 1500, 0);
  table.report(WEST_1, 1400, 1500, 60_000);
  assert.deepEqual(table.expire(60_000 + PATH_MTU_EXPIRY_MS - 1), []);
  assert.equal(table.expire(60_000 + PATH_MTU_EXPIRY_MS).length, 1);
  assert.ok(PATH_MTU_EXPIRY_MS >= 10 * 60_000);
});

test('G9 no source quench is ever sent, and nothing at all to the underlay', () => {
  const rig = new Rig();
  rig.inbound(...Array.from({ length: 500 }, () => tunnelled({ destination: STRANGER })));
  assert.deepEqual(rig.drops(), { 'inbound not-local': 500 });
  assert.deepEqual(rig.icmp(), []);
});
