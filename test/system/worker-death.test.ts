import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress, parseCidr4 } from '../../src/base/address.ts';
import { systemClock } from '../../src/base/clock.ts';
import type { Logger } from '../../src/base/log.ts';
import { sumCell, TOTAL, TOTAL_CELLS } from '../../src/dataplane/counters.ts';
import { WorkerPlane } from '../../src/dataplane/plane.ts';
import { Fib } from '../../src/fib/fib.ts';
import { closeDevice, openDevice } from '../../src/host/device.ts';
import { Batch, HEADROOM_BYTES } from '../../src/io/batch.ts';
import { loadNative } from '../../src/io/load.ts';
import { Netlink } from '../../src/io/netlink.ts';
import { openRawIp } from '../../src/io/raw-ip.ts';
import { writeU16, writeU32 } from '../../src/packet/bytes.ts';
import { internetChecksum } from '../../src/packet/checksum.ts';
import { encapsulate } from '../../src/packet/ipip.ts';
import { IPV4, PROTOCOL } from '../../src/packet/ipv4.ts';

const LOOPBACK = parseAddress('127.0.0.1');
const DEATHS = 3;
const FLOWS = 200;
const DEADLINE_MS = 10_000;

/** One packet of each of FLOWS flows, from 10.2.x.y to 10.1.0.9, in IPIP from and to loopback. */
function flows(): Batch {
  const slot = 128;
  const batch = new Batch(new Uint8Array(FLOWS * slot), FLOWS);
  for (let flow = 0; flow < FLOWS; flow++) {
    const at = flow * slot + HEADROOM_BYTES;
    batch.bytes[at] = 0x45;
    batch.bytes[at + IPV4.TTL] = 64;
    batch.bytes[at + IPV4.PROTOCOL] = 253;
    writeU16(batch.bytes, at + IPV4.TOTAL_LENGTH, 28);
    writeU32(batch.bytes, at + IPV4.SOURCE, parseAddress('10.2.0.0') + flow * 7);
    writeU32(batch.bytes, at + IPV4.DESTINATION, parseAddress('10.1.0.9'));
    writeU16(batch.bytes, at + IPV4.CHECKSUM, internetChecksum(batch.bytes, at, 20));
    encapsulate(batch.view, at, 28, LOOPBACK, LOOPBACK, 0, 64, 1, IPV4.DF, PROTOCOL.IPIP);
    batch.at[flow] = at - 20;
    batch.length[flow] = 48;
    batch.address[flow] = LOOPBACK;
  }
  return batch;
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!holds()) {
    assert.ok(performance.now() < deadline, `in ${DEADLINE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test('a worker that dies is logged, counted and restarted with its queue, and the other goes on', async () => {
  const native = loadNative();
  const netlink = new Netlink(native);
  const fib = new Fib();
  fib.setLocal([parseCidr4('10.1.0.0/16')]);
  fib.apply(
    [{ cidr: parseCidr4('10.2.0.0/16'), cluster: 'west', gateways: [{ address: LOOPBACK, weight: 1 }] }],
    [],
  );
  fib.configure({
    source: parseAddress('127.0.0.2'),
    tunnelAddress: 0,
    linkMtuBytes: 1500,
    ttl: 64,
    dscp: 'inherit',
    ecn: 'normal',
    clampMss: true,
    fragment: 'inner',
    innerSource: 'strict',
    allowedSources: [],
    transit: [],
  });
  const device = openDevice(native, netlink, {
    name: 'dying0',
    mtuBytes: 1480,
    queueLength: 1000,
    address: null,
    queues: 2,
  });
  const sockets = [0, 1].map((index) =>
    openRawIp(native, { address: LOOPBACK, worker: { index, count: 2 } }),
  );
  const errors: object[] = [];
  const logger: Logger = { debug() {}, info() {}, warn() {}, error: (fields) => errors.push(fields) };
  const plane = new WorkerPlane({
    native,
    deviceName: device.name,
    descriptors: device.queues.map((queue, index) => ({
      device: queue.fd,
      underlay: sockets[index]!.fd,
      underlaySend: sockets[index]!.sendFd,
    })),
    encapsulation: 'ipip',
    spinMaxUs: 0,
    coalesceFeatures: 0,
    image: fib.buffer,
    forgetReader: (engine) => fib.forgetReader(engine),
    clock: systemClock,
    logger,
    slowPath: { sendIcmp: () => {}, sendIcmp6: () => {}, onProbe: () => {} },
    program: new URL('./dying-worker.js', import.meta.url),
  });
  const sender = openRawIp(native, { address: parseAddress('127.0.0.3') });
  try {
    const batch = flows();
    for (let sent = 0; sent < FLOWS; ) {
      const result = sender.send(batch, sent, FLOWS);
      assert.ok(result > 0, `send: ${result}`);
      sent += result;
    }
    const received = () => sumCell(plane.counterBlocks, TOTAL.INBOUND_RECEIVED);
    await until('every packet is received by one of the workers', () => received() >= FLOWS);
    assert.equal(received(), FLOWS, 'each packet by one worker only');
    assert.equal(
      sumCell(plane.counterBlocks, TOTAL.INBOUND_PACKETS),
      FLOWS,
      'each was forwarded to the device',
    );
    for (const block of plane.counterBlocks)
      assert.ok(block[TOTAL.INBOUND_RECEIVED]! > 0, 'both workers had a share');
    assert.equal(plane.counterBlocks[0]![TOTAL_CELLS - 1], DEATHS);
    assert.equal(plane.restarts, DEATHS);
    assert.equal(plane.running, 2);
    assert.equal(errors.length, DEATHS);
    assert.deepEqual(Object.keys(errors[0]!), ['code', 'worker', 'reason', 'restartInMs']);
  } finally {
    await plane.stop();
    for (const socket of [...sockets, sender]) socket.close();
    closeDevice(device, false);
    netlink.close();
  }
});
