import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Batch, PACKET_BYTES_MAX, receiveBatch, SMALL_BYTES, slotBytes } from '../../../src/io/batch.ts';
import { loadNative } from '../../../src/io/load.ts';
import { VNET } from '../../../src/packet/vnet.ts';
import { makePartial, tcpPacket, udpPacket } from '../packet/segments.ts';
import { PLAIN, superPacket, vnetOf } from './super-packets.ts';

const native = loadNative();
const CANARY = 0xee;

let folder = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'isthmus-tun-'));
});
after(() => rmSync(folder, { recursive: true }));

/** Reads `content` as a device would give it: a read of a file gives what is left of it, so the whole is one packet. */
function receive(content: Uint8Array, capacity = 4): { count: number; batch: Batch } {
  const file = join(folder, 'device');
  writeFileSync(file, content);
  const fd = openSync(file, 'r');
  try {
    const batch = receiveBatch(new Uint8Array(slotBytes(capacity)).fill(CANARY), 0, capacity);
    const { bytes, at, length, layout } = batch;
    return { count: native.tunReceive(fd, bytes, at, length, layout, capacity, VNET.BYTES), batch };
  } finally {
    closeSync(fd);
  }
}

function only({ count, batch }: { count: number; batch: Batch }): { vnet: number[]; packet: Buffer } {
  assert.equal(count, 1);
  const at = batch.at[0]!;
  const packet = Buffer.from(batch.bytes.subarray(at, at + batch.length[0]!));
  return { vnet: [...batch.bytes.subarray(at - VNET.BYTES, at)], packet };
}

const behind = (vnet: Uint8Array, packet: Uint8Array): Uint8Array => Uint8Array.from([...vnet, ...packet]);
const header = (change: object): Uint8Array =>
  vnetOf(PLAIN, 0, { type: 0, headerBytes: 0, checksumStart: 20, checksumOffset: 16, ...change });
const NOTHING = new Array(VNET.BYTES).fill(0);

describe('a packet that is read from the device', () => {
  test('gets the checksum that the kernel left undone, and no longer asks for it', () => {
    for (const bytes of [0, 1, 2, 63, 64, 1000, 1427, 3000, 60_001]) {
      const tcp = tcpPacket({ payloadBytes: bytes, tcpOptionBytes: 12 });
      assert.deepEqual(only(receive(behind(header({}), makePartial(tcp)))), {
        vnet: NOTHING,
        packet: Buffer.from(tcp),
      });
      const udp = udpPacket(bytes);
      assert.deepEqual(only(receive(behind(header({ checksumOffset: 6 }), makePartial(udp)))), {
        vnet: NOTHING,
        packet: Buffer.from(udp),
      });
    }
  });

  test('never gets a checksum of 0, which would say that there is none', () => {
    // Its words add up to 0xffff.
    const packet = new Uint8Array(28).fill(0xff, 20, 22);
    const expected = packet.slice().fill(0xff, 26, 28);
    assert.deepEqual(
      only(receive(behind(header({ checksumOffset: 6 }), packet))).packet,
      Buffer.from(expected),
    );
  });

  test('is left as it is when its header points outside of it, up to the last byte', () => {
    const packet = makePartial(tcpPacket({ payloadBytes: 100 }));
    const end = packet.length;
    for (const [checksumStart, checksumOffset] of [
      [end - 17, 16],
      [end, 0],
      [0xffff, 0xffff],
      [0xffff, 1],
      [0, 0xffff],
    ]) {
      const vnet = header({ checksumStart, checksumOffset });
      assert.deepEqual(only(receive(behind(vnet, packet))), { vnet: NOTHING, packet: Buffer.from(packet) });
    }
    const { packet: last } = only(receive(behind(header({ checksumStart: end - 18 }), packet)));
    assert.notDeepEqual(last, Buffer.from(packet), 'the last two bytes are inside');
  });

  test('keeps header and bytes when it is to be cut, or when nothing is left to do', () => {
    const uncut = superPacket(PLAIN);
    const vnet = vnetOf(PLAIN, 1000);
    assert.deepEqual(only(receive(behind(vnet, uncut))), { vnet: [...vnet], packet: Buffer.from(uncut) });
    const whole = tcpPacket({ payloadBytes: 10 });
    const nothing = header({ flags: 0 });
    assert.deepEqual(only(receive(behind(nothing, whole))), {
      vnet: [...nothing],
      packet: Buffer.from(whole),
    });
  });

  test('lies in the small slot when it fits, else whole in the large one, each with its vnet header before it', () => {
    for (const bytes of [1, SMALL_BYTES - 1, SMALL_BYTES, SMALL_BYTES + 1, 9000, PACKET_BYTES_MAX]) {
      const packet = new Uint8Array(bytes).map((_, i) => i * 7);
      const vnet = Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7, 8, 9);
      const received = receive(behind(vnet, packet));
      assert.deepEqual(only(received), { vnet: [...vnet], packet: Buffer.from(packet) });
      assert.equal(received.batch.at[0], received.batch.roomFor(0, bytes));
      const beyond = received.batch.at[0]! + bytes;
      assert.equal(received.batch.bytes[beyond], CANARY, 'nothing is written behind it');
    }
  });

  test('is no packet when not even the vnet header is there', () => {
    assert.equal(receive(new Uint8Array(VNET.BYTES - 1)).count, 0);
  });
});

test('one call stops after 256 KiB, so that what was read is still in the cache when it is worked on', () => {
  const { count, batch } = receive(new Uint8Array(10 * (PACKET_BYTES_MAX + VNET.BYTES)), 10);
  assert.equal(count, 4);
  assert.deepEqual([...batch.length.subarray(0, 4)], new Array(4).fill(PACKET_BYTES_MAX));
});
