import assert from 'node:assert/strict';
import { parseAddress } from '../../../src/base/address.ts';
import { openRawIp } from '../../../src/io/raw-ip.ts';
import { RawSocketIo } from '../../../src/io/raw-socket.ts';
import { poll, run } from '../../../src/measure/topology.ts';
import { systemTest } from '../topology/scene.ts';
import { RAW_SOCKET } from '../topology/variants.ts';
import {
  batchOf,
  get,
  HERE,
  native,
  openDevice,
  outer,
  put,
  receiveAll,
  sendAll,
  THERE,
} from './end-to-end.ts';

const SECOND = parseAddress('10.77.0.201');
const THIRD = parseAddress('10.77.0.202');

/** The size of a packet tells to which address it went. */
const SIZE = { here: 100, second: 200, third: 300 };

const incoming = (): Buffer[] => [
  outer(0, SIZE.here, THERE, HERE),
  outer(1, SIZE.second, THERE, SECOND),
  outer(2, SIZE.third, THERE, THIRD),
];

for (const variant of ['batch', 'raw-socket'] as const) {
  systemTest(
    `${variant}: an open socket takes packets to another set of addresses from one call on`,
    async () => {
      const tun = openDevice();
      for (const address of ['10.77.0.201', '10.77.0.202'])
        await run(['ip', 'address', 'add', `${address}/24`, 'dev', tun.name]);
      const io =
        variant === 'batch' ? openRawIp(native, { address: HERE }) : RawSocketIo.open({ address: HERE });
      const received = async (wanted: readonly number[]): Promise<void> => {
        const sizes: number[] = [];
        const batch = batchOf(8);
        sendAll(tun, batchOf(8), incoming());
        await poll(`packets of ${wanted.join(', ')} bytes`, 5000, () => {
          const count = io.receive(batch);
          for (let slot = 0; slot < count; slot++) sizes.push(get(batch, slot).length);
          return sizes.length >= wanted.length;
        });
        assert.deepEqual(sizes, wanted);
      };
      await received([SIZE.here]);
      assert.equal(io.setAddresses(SECOND, [SECOND, HERE]), true);
      await received([SIZE.here, SIZE.second]);
      assert.equal(io.setAddresses(SECOND, [SECOND]), true);
      await received([SIZE.second]);
      io.close();
      tun.close();
    },
    variant === 'raw-socket' ? RAW_SOCKET.skip : undefined,
  );
}

systemTest('an address that is not on this host yet is bound as soon as it is', async () => {
  const tun = openDevice();
  const socket = openRawIp(native, { address: SECOND });
  assert.equal(socket.setAddresses(SECOND, [SECOND]), false);
  const batch = batchOf(1);
  put(batch, 0, outer(0, 100, HERE, THERE), THERE);
  assert.equal(socket.send(batch, 0, 1), 1, 'meanwhile the destination alone decides');
  await run(['ip', 'address', 'add', '10.77.0.201/24', 'dev', tun.name]);
  assert.equal(socket.setAddresses(SECOND, [SECOND]), true);
  socket.close();
  tun.close();
});

systemTest(
  'the way of what is sent is looked up by the source address, as rules of the host may ask',
  async () => {
    const [one, other] = [openDevice(), openDevice()];
    await run(['ip', 'address', 'add', '10.77.0.201/24', 'dev', one.name]);
    await run(['ip', 'rule', 'add', 'from', '10.77.0.201', 'lookup', '4711']);
    await run(['ip', 'route', 'add', '192.0.2.0/24', 'dev', one.name]);
    await run(['ip', 'route', 'add', '192.0.2.0/24', 'dev', other.name, 'table', '4711']);
    const far = parseAddress('192.0.2.9');
    const socket = openRawIp(native, { address: HERE });
    const send = (source: number): void => {
      const batch = batchOf(1);
      put(batch, 0, outer(0, 100, source, far), far);
      assert.equal(socket.send(batch, 0, 1), 1);
    };
    send(HERE);
    assert.equal(receiveAll(one, batchOf(4), 1).length, 1);
    assert.equal(socket.setAddresses(SECOND, [SECOND, HERE]), true);
    send(SECOND);
    assert.equal(receiveAll(other, batchOf(4), 1).length, 1);
    await run(['ip', 'rule', 'del', 'from', '10.77.0.201', 'lookup', '4711']);
    for (const io of [socket, one, other]) io.close();
  },
);
