import { Bench } from 'tinybench';
import { readU16, writeU16, writeU32 } from '../src/packet/bytes.ts';
import { internetChecksum, sumBytes } from '../src/packet/checksum.ts';
import { decapsulateEcn, outerTos } from '../src/packet/ecn.ts';
import { flowHash } from '../src/packet/flow.ts';
import { fragmentCount, writeFragment } from '../src/packet/fragment.ts';
import { encapsulate } from '../src/packet/ipip.ts';
import {
  checkInner,
  checkOuter,
  headerBytes,
  IPV4,
  outerPayload,
  PROTOCOL,
  totalLength,
} from '../src/packet/ipv4.ts';
import { clampMss, TCP } from '../src/packet/tcp.ts';

/** Every task handles this many packets, each in its own slot, as a batch does: divide a latency by it to get a packet's. */
export const PACKETS_PER_TASK = 64;

const PACKET_BYTES = 1480;
const SYN_BYTES = 60;
const HEADROOM = 64;
/** As far apart as the gateway's slots are in cache terms, without needing 4 MiB. */
const SLOT = 2048 + 64;
const SPARE_AT = SLOT * PACKETS_PER_TASK;
const SOURCE = 0xc0a80101;
const DESTINATION = 0xcb007142;

const atOf = (slot: number): number => slot * SLOT + HEADROOM;

function writePacket(bytes: Uint8Array, at: number, length: number, protocol: number, slot: number): void {
  for (let i = 0; i < length; i++) bytes[at + i] = i * 7 + slot;
  writeU16(bytes, at + IPV4.VERSION_IHL, 0x4502);
  writeU16(bytes, at + IPV4.TOTAL_LENGTH, length);
  writeU16(bytes, at + IPV4.FRAGMENT, 0);
  writeU16(bytes, at + IPV4.TTL, (63 << 8) | protocol);
  writeU32(bytes, at + IPV4.SOURCE, SOURCE + slot);
  writeU32(bytes, at + IPV4.DESTINATION, DESTINATION);
  writeU16(bytes, at + IPV4.CHECKSUM, 0);
  writeU16(bytes, at + IPV4.CHECKSUM, internetChecksum(bytes, at, IPV4.HEADER_BYTES));
}

/** A slab over shared memory, as the workers have it, with a packet in every slot and its outer header before it. */
function slabOf(protocol: number, length: number): Uint8Array {
  const bytes = new Uint8Array(new SharedArrayBuffer(SPARE_AT + SLOT));
  const view = new DataView(bytes.buffer);
  for (let slot = 0; slot < PACKETS_PER_TASK; slot++) {
    const at = atOf(slot);
    writePacket(bytes, at, length, protocol, slot);
    encapsulate(view, at, length, SOURCE, DESTINATION, 2, 64, 0, IPV4.DF, PROTOCOL.IPIP);
  }
  return bytes;
}

/** A SYN with the options that most hosts send: MSS, SACK permitted, timestamps, NOP, window scale. */
function slabOfSyns(): Uint8Array {
  const bytes = slabOf(6, SYN_BYTES);
  const options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
  for (let slot = 0; slot < PACKETS_PER_TASK; slot++) {
    const tcp = atOf(slot) + IPV4.HEADER_BYTES;
    bytes[tcp + TCP.DATA_OFFSET] = 0xa0;
    bytes[tcp + TCP.FLAGS] = TCP.SYN;
    for (const [i, byte] of options.entries()) bytes[tcp + TCP.HEADER_BYTES + i] = byte;
  }
  return bytes;
}

/** What sumBytes was before it was unrolled: the line that shows what unrolling is worth. */
function sumWordByWord(bytes: Uint8Array, at: number, length: number): number {
  let sum = 0;
  for (let i = at; i + 1 < at + length; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
  return (length & 1) === 0 ? sum : sum + (bytes[at + length - 1]! << 8);
}

/** The same through a DataView: the line behind the choice in src/packet/bytes.ts. */
function sumDataView(view: DataView, at: number, length: number): number {
  let sum = 0;
  for (let i = at; i + 1 < at + length; i += 2) sum += view.getUint16(i);
  return (length & 1) === 0 ? sum : sum + (view.getUint8(at + length - 1) << 8);
}

/** Results go here, so that no task is optimised away. */
const sink = new Int32Array(1);

function addChecksums(bench: Bench, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer);
  for (const length of [20, PACKET_BYTES]) {
    const size = `checksum ${length.toLocaleString('en')} B`;
    bench.add(size, () => {
      for (let slot = 0; slot < PACKETS_PER_TASK; slot++) sink[0]! ^= sumBytes(bytes, atOf(slot), length);
    });
    bench.add(`${size}, word by word`, () => {
      for (let slot = 0; slot < PACKETS_PER_TASK; slot++)
        sink[0]! ^= sumWordByWord(bytes, atOf(slot), length);
    });
    bench.add(`${size}, DataView`, () => {
      for (let slot = 0; slot < PACKETS_PER_TASK; slot++) sink[0]! ^= sumDataView(view, atOf(slot), length);
    });
  }
}

function addHeaders(bench: Bench, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer);
  bench.add('checkInner', () => {
    for (let slot = 0; slot < PACKETS_PER_TASK; slot++)
      sink[0]! ^= checkInner(bytes, atOf(slot), PACKET_BYTES);
  });
  bench.add('hash of a flow: flowHash', () => {
    for (let slot = 0; slot < PACKETS_PER_TASK; slot++) sink[0]! ^= flowHash(bytes, atOf(slot));
  });
  bench.add('encapsulate', () => {
    for (let slot = 0; slot < PACKETS_PER_TASK; slot++) {
      encapsulate(
        view,
        atOf(slot),
        PACKET_BYTES,
        SOURCE | 0,
        DESTINATION | 0,
        2,
        64,
        slot,
        IPV4.DF,
        PROTOCOL.IPIP,
      );
    }
  });
  bench.add('outbound: checkInner, flowHash, outerTos, encapsulate', () => {
    for (let slot = 0; slot < PACKETS_PER_TASK; slot++) {
      const at = atOf(slot);
      if (checkInner(bytes, at, PACKET_BYTES) !== 0) continue;
      sink[0]! ^= flowHash(bytes, at);
      const tos = outerTos(bytes[at + IPV4.TOS]!, -1, 0);
      encapsulate(
        view,
        at,
        totalLength(bytes, at),
        SOURCE | 0,
        DESTINATION | 0,
        tos,
        64,
        slot,
        IPV4.DF,
        PROTOCOL.IPIP,
      );
    }
  });
  bench.add('decapsulate: checkOuter, checkInner, decapsulateEcn', () => {
    for (let slot = 0; slot < PACKETS_PER_TASK; slot++) {
      const outer = atOf(slot) - 20;
      if (checkOuter(bytes, outer, PACKET_BYTES + 20, PROTOCOL.IPIP) !== 0) continue;
      const inner = outer + headerBytes(bytes, outer);
      if (checkInner(bytes, inner, outerPayload(bytes, outer, PACKET_BYTES + 20)) !== 0) continue;
      sink[0]! ^= decapsulateEcn(bytes, inner, bytes[outer + IPV4.TOS]!);
    }
  });
}

function addRewrites(bench: Bench, packets: Uint8Array, syns: Uint8Array): void {
  bench.add('ecn, unchanged', () => {
    for (let slot = 0; slot < PACKETS_PER_TASK; slot++) sink[0]! ^= decapsulateEcn(packets, atOf(slot), 2);
  });
  bench.add('ecn, marked CE', () => {
    for (let slot = 0; slot < PACKETS_PER_TASK; slot++) {
      packets[atOf(slot) + IPV4.TOS] = 2;
      sink[0]! ^= decapsulateEcn(packets, atOf(slot), 3);
    }
  });
  bench.add('clampMss, no SYN', () => {
    for (let slot = 0; slot < PACKETS_PER_TASK; slot++) sink[0]! ^= clampMss(packets, atOf(slot), 1420);
  });
  bench.add('clampMss, SYN lowered', () => {
    for (let slot = 0; slot < PACKETS_PER_TASK; slot++) {
      writeU16(syns, atOf(slot) + 42, 1460);
      sink[0]! ^= clampMss(syns, atOf(slot), 1420);
    }
  });
  bench.add('fragment, 1,480 B in two, the second one', () => {
    for (let slot = 0; slot < PACKETS_PER_TASK; slot++) {
      const at = atOf(slot);
      const count = fragmentCount(readU16(packets, at + IPV4.TOTAL_LENGTH), IPV4.HEADER_BYTES, 800);
      sink[0]! ^= writeFragment(packets, at, 1, count, 800, SPARE_AT);
    }
  });
}

/** Micro benchmarks of src/packet, run to their end. Latencies are of PACKETS_PER_TASK packets. */
export async function packetBench(): Promise<Bench> {
  const bench = new Bench({ name: 'packet', time: 200, warmupTime: 100 });
  const packets = slabOf(6, PACKET_BYTES);
  addChecksums(bench, packets);
  addHeaders(bench, packets);
  addRewrites(bench, slabOf(6, PACKET_BYTES), slabOfSyns());
  await bench.run();
  return bench;
}
