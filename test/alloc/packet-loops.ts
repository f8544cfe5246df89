import { PROTOCOL } from '../../src/packet/ipv4.ts';
/**
 * Runs each function of src/packet in a steady loop and prints, as one line of JSON, how many heap bytes a call allocated. Started with the
 * flags of in-child.ts.
 *
 * The slab is a Uint8Array over a SharedArrayBuffer, as in the gateway. Addresses are above 128.0.0.0, ports above 32768: those do not
 * fit a small integer and are boxed where they cross a call that was not inlined, which constants would hide.
 */

import { readI32, writeU16, writeU32 } from '../../src/packet/bytes.ts';
import { adjustChecksum, internetChecksum } from '../../src/packet/checksum.ts';
import { decapsulateEcn, outerTos } from '../../src/packet/ecn.ts';
import { flowHash, flowHashOf } from '../../src/packet/flow.ts';
import { fragmentCount, writeFragment } from '../../src/packet/fragment.ts';
import {
  ICMP,
  mayAnswer,
  quotedAt,
  quotedInnerAt,
  writeIcmpError,
  writeIcmpPacket,
} from '../../src/packet/icmp.ts';
import { encapsulate } from '../../src/packet/ipip.ts';
import {
  checkInner,
  checkOuter,
  headerBytes,
  IPV4,
  isMartianSource,
  outerPayload,
} from '../../src/packet/ipv4.ts';
import { clampMss, TCP } from '../../src/packet/tcp.ts';
import { bytesPerCall } from './heap-meter.ts';

const CALLS = 200_000;
const SOURCE = 0xc0a80101;
const DESTINATION = 0xcb007142;
const AT = 64;
const LENGTH = 1480;
const OUTER_AT = AT - 20;
const SPARE_AT = 4096;
const SYN_AT = 8192;
const ICMP_AT = 12_288;

/**
 * The addresses as the packet path has them: i32 from a Uint32Array. Loaded once, since code that is not optimised yet boxes a u32 at each
 * load, and then a busy machine whose compiler is late would be told from a packet function that allocates by nothing.
 */
const words = Uint32Array.of(SOURCE, DESTINATION);
const source = words[0]! | 0;
const destination = words[1]! | 0;
const slab = new Uint8Array(new SharedArrayBuffer(65_536));
const view = new DataView(slab.buffer);

function writePacket(bytes: Uint8Array, at: number, length: number, protocol: number): void {
  for (let i = 0; i < length; i++) bytes[at + i] = i * 7;
  writeU16(bytes, at + IPV4.VERSION_IHL, 0x4502);
  writeU16(bytes, at + IPV4.TOTAL_LENGTH, length);
  writeU16(bytes, at + IPV4.FRAGMENT, 0);
  writeU16(bytes, at + IPV4.TTL, (63 << 8) | protocol);
  writeU32(bytes, at + IPV4.SOURCE, SOURCE);
  writeU32(bytes, at + IPV4.DESTINATION, DESTINATION);
  writeU16(bytes, at + IPV4.CHECKSUM, 0);
  writeU16(bytes, at + IPV4.CHECKSUM, internetChecksum(bytes, at, 20));
}

function writeSyn(bytes: Uint8Array, at: number): void {
  writePacket(bytes, at, 44, 6);
  writeU32(bytes, at + 20, 0xc0de01bb);
  bytes[at + 20 + TCP.DATA_OFFSET] = 0x60;
  bytes[at + 20 + TCP.FLAGS] = TCP.SYN;
  writeU32(bytes, at + 40, 0x0204_05b4);
}

/** One entry a function; `call` must return a number so that nothing is optimised away. Each is its own function: one shape a site. */
const loops: Record<string, (bytes: Uint8Array, calls: number) => number> = {
  checkInner: (bytes, calls) => {
    let sink = 0;
    for (let i = 0; i < calls; i++) sink ^= checkInner(bytes, AT, LENGTH);
    return sink;
  },
  checkOuter: (bytes, calls) => {
    let sink = 0;
    for (let i = 0; i < calls; i++) {
      sink ^=
        checkOuter(bytes, OUTER_AT, LENGTH + 20, PROTOCOL.IPIP) + outerPayload(bytes, OUTER_AT, LENGTH + 20);
    }
    return sink;
  },
  internetChecksum: (bytes, calls) => {
    let sink = 0;
    for (let i = 0; i < calls; i++) sink ^= internetChecksum(bytes, AT, 100 + (i & 63));
    return sink;
  },
  adjustChecksum: (_bytes, calls) => {
    let sink = 0;
    for (let i = 0; i < calls; i++) sink ^= adjustChecksum(sink, i & 0xffff, 0xabcd);
    return sink;
  },
  flowHash: (bytes, calls) => {
    let sink = 0;
    for (let i = 0; i < calls; i++) {
      writeU16(bytes, AT + 20, i);
      sink ^= flowHash(bytes, AT);
    }
    return sink;
  },
  flowHashOf: (_bytes, calls) => {
    let sink = 0;
    for (let i = 0; i < calls; i++) sink ^= flowHashOf(source, destination, 17, (i << 16) | 53);
    return sink;
  },
  isMartianSource: (bytes, calls) => {
    let sink = 0;
    for (let i = 0; i < calls; i++) sink ^= isMartianSource(readI32(bytes, AT + IPV4.SOURCE)) ? 1 : i;
    return sink;
  },
  outerTos: (_bytes, calls) => {
    let sink = 0;
    for (let i = 0; i < calls; i++) sink ^= outerTos(i & 255, (i & 127) - 1, i & 1);
    return sink;
  },
  encapsulate: (bytes, calls) => {
    for (let i = 0; i < calls; i++) {
      encapsulate(view, AT, LENGTH, source, destination, 2, 64, i & 0xffff, IPV4.DF, PROTOCOL.IPIP);
    }
    return bytes[OUTER_AT + IPV4.CHECKSUM]!;
  },
  decapsulateEcn: (bytes, calls) => {
    let sink = 0;
    for (let i = 0; i < calls; i++) {
      writeU16(bytes, AT, 0x4502);
      sink ^= decapsulateEcn(bytes, AT, 3);
    }
    return sink;
  },
  clampMss: (bytes, calls) => {
    let sink = 0;
    for (let i = 0; i < calls; i++) {
      writeU16(bytes, SYN_AT + 42, 1460);
      sink += clampMss(bytes, SYN_AT, 1420);
    }
    return sink;
  },
  writeFragment: (bytes, calls) => {
    let sink = 0;
    for (let i = 0; i < calls; i++) {
      const count = fragmentCount(LENGTH, headerBytes(bytes, AT), 1000);
      sink ^= writeFragment(bytes, AT, 1, count, 1000, SPARE_AT);
    }
    return sink;
  },
  writeIcmpError: (bytes, calls) => {
    let sink = 0;
    for (let i = 0; i < calls; i += 8) {
      sink ^= writeIcmpError(
        bytes,
        ICMP_AT,
        ICMP.UNREACHABLE,
        ICMP.CODE_FRAGMENTATION_NEEDED,
        1480,
        bytes,
        AT,
        LENGTH,
      );
    }
    return sink;
  },
  writeIcmpPacket: (bytes, calls) => {
    let sink = 0;
    for (let i = 0; i < calls; i += 8) {
      sink ^= writeIcmpPacket(bytes, ICMP_AT, SOURCE, DESTINATION, 64, 3, 1, 0, bytes, OUTER_AT, LENGTH + 20);
    }
    return sink;
  },
  quotedAt: (bytes, calls) => {
    let sink = 0;
    for (let i = 0; i < calls; i += 8) {
      const quote = quotedAt(bytes, ICMP_AT, 576);
      sink ^= quotedInnerAt(bytes, quote, ICMP_AT + 576) + mayAnswer(bytes, AT);
    }
    return sink;
  },
};

/** Shows that the meter works: one subarray a packet is what the packet path must never do. */
function allocating(bytes: Uint8Array, calls: number): number {
  let sink = 0;
  for (let i = 0; i < calls; i++) sink += bytes.subarray(i & 1023, 1024).length;
  return sink;
}

writePacket(slab, AT, LENGTH, 17);
encapsulate(view, AT, LENGTH, SOURCE, DESTINATION, 0, 64, 1, 0, PROTOCOL.IPIP);
writeSyn(slab, SYN_AT);
const measured: Record<string, number> = {};
for (const [name, loop] of Object.entries(loops))
  measured[name] = bytesPerCall(CALLS, () => void loop(slab, CALLS));
measured['(allocating on purpose)'] = bytesPerCall(CALLS, () => void allocating(slab, CALLS));
process.stdout.write(`${JSON.stringify(measured)}\n`);
