import type { Prng } from '../../src/base/prng.ts';
import { buildIpv4, checksumOf, onesSum, put16, put32 } from './oracle/wire.ts';

const IPV4_BYTES_MAX = 65_535;
/** Behind a header with every option. */
const PAYLOAD_BYTES_MAX = IPV4_BYTES_MAX - 60;

/** Random IPv4 packets as hosts send them: mostly good, of every kind that the gateways treat apart. */
export class PacketFactory {
  readonly #prng: Prng;
  readonly #pool = new Uint8Array(2 * IPV4_BYTES_MAX);

  constructor(prng: Prng) {
    this.#prng = prng;
    for (let i = 0; i < this.#pool.length; i++) this.#pool[i] = prng.u32();
  }

  /** A well-formed packet. `ports` gives the flow where one of many is wanted again. */
  inner(source: number, destination: number, ports: number, sizes: readonly number[]): Uint8Array {
    const prng = this.#prng;
    const protocol = prng.pick([17, 17, 17, 6, 6, 6, 1, 1, 4, 47, 132]);
    const isFragment = prng.chance(0.04);
    const offset = isFragment && prng.chance(0.7) ? 1 + prng.below(prng.chance(0.2) ? 0x1fff : 200) : 0;
    return buildIpv4({
      tos: prng.below(256),
      id: prng.below(0x1_0000),
      dontFragment: !isFragment && prng.chance(0.5),
      moreFragments: isFragment && (offset === 0 || prng.chance(0.5)),
      offsetUnits: offset,
      ttl: prng.chance(0.01) ? 0 : 1 + prng.below(255),
      protocol,
      source,
      destination,
      options: prng.chance(0.06) ? this.#options() : new Uint8Array(0),
      payload: this.#payload(protocol, source, destination, ports, sizes),
    });
  }

  /** Anything that may be wrong with a packet is now wrong with this one; but it is none of IPv6, of which the oracle knows nothing. */
  damage(packet: Uint8Array): Uint8Array {
    const bytes = this.#damaged(packet);
    if (bytes.length > 0 && bytes[0]! >> 4 === 6) bytes[0]! -= 0x10;
    return bytes;
  }

  #damaged(packet: Uint8Array): Uint8Array {
    const prng = this.#prng;
    const bytes = packet.slice();
    const at = prng.below(Math.min(bytes.length, 60));
    switch (prng.below(7)) {
      case 0:
        return bytes.subarray(0, prng.below(bytes.length) + 1);
      case 1:
        bytes[0] = prng.below(256);
        break;
      case 2:
        put16(bytes, 2, prng.below(0x1_0000));
        break;
      case 3:
        bytes[at] = prng.below(256);
        break;
      case 4:
        bytes[at] = (bytes[at] as number) ^ (1 << prng.below(8));
        break;
      case 5:
        return Uint8Array.from([...bytes, ...this.#bytes(prng.below(30))]).subarray(0, IPV4_BYTES_MAX);
      default:
        return this.#bytes(1 + prng.below(60));
    }
    // Half of the damage comes with a right checksum, so that what is behind the checksum test is met too.
    const header = ((bytes[0] as number) % 16) * 4;
    if (prng.chance(0.5) && header >= 20 && header <= bytes.length) {
      put16(bytes, 10, 0);
      put16(bytes, 10, checksumOf(bytes, 0, header));
    }
    return bytes;
  }

  #payload(
    protocol: number,
    source: number,
    destination: number,
    ports: number,
    sizes: readonly number[],
  ): Uint8Array {
    const prng = this.#prng;
    const size = prng.chance(0.25) ? Math.max(0, prng.pick(sizes) - 20 - 3 + prng.below(7)) : prng.below(160);
    if (protocol === 6) return this.#segment(source, destination, ports, size);
    if (protocol === 17 && prng.chance(0.03)) return this.#undone(source, destination, ports, size);
    const payload = this.#bytes(Math.min(size, PAYLOAD_BYTES_MAX));
    if (payload.length >= 4 && protocol !== 1) put32(payload, 0, ports);
    if (payload.length >= 1 && protocol === 1) payload[0] = prng.pick([0, 3, 5, 8, 8, 8, 11, 13, 42]);
    return payload;
  }

  /** A datagram whose checksum was left undone, or several that were merged into one. */
  #undone(source: number, destination: number, ports: number, size: number): Uint8Array {
    const bytes = this.#bytes(8 + Math.min(this.#prng.chance(0.3) ? 4 * size + 1500 : size, 9000));
    put32(bytes, 0, ports);
    put16(bytes, 4, bytes.length);
    const pseudo = new Uint8Array(12);
    put32(pseudo, 0, source);
    put32(pseudo, 4, destination);
    pseudo[9] = 17;
    put16(pseudo, 10, bytes.length);
    put16(bytes, 6, onesSum(pseudo));
    return bytes;
  }

  /** A TCP segment with a right checksum, every other one a SYN with options. */
  #segment(source: number, destination: number, ports: number, size: number): Uint8Array {
    const prng = this.#prng;
    const isSyn = prng.chance(0.6);
    const options = isSyn ? this.#tcpOptions() : new Uint8Array(0);
    const header = 20 + options.length;
    const bytes = new Uint8Array(Math.min(Math.max(header, size), PAYLOAD_BYTES_MAX));
    bytes.set(this.#bytes(bytes.length - header), header);
    put32(bytes, 0, ports);
    put32(bytes, 4, prng.u32());
    bytes[12] = (header / 4) * 16;
    bytes[13] = isSyn ? prng.pick([2, 18]) : prng.pick([16, 24, 1, 4]);
    put16(bytes, 14, prng.below(0x1_0000));
    bytes.set(options, 20);
    const pseudo = new Uint8Array(12 + bytes.length);
    put32(pseudo, 0, source);
    put32(pseudo, 4, destination);
    pseudo[9] = 6;
    put16(pseudo, 10, bytes.length);
    pseudo.set(bytes, 12);
    put16(bytes, 16, checksumOf(pseudo));
    return bytes;
  }

  #tcpOptions(): Uint8Array {
    const prng = this.#prng;
    const options: number[] = [];
    while (options.length < 30 && prng.chance(0.8)) {
      const mss = prng.pick([0, 536, 1200, 1380, 1420, 1440, 1460, 8960, 65_495]);
      const one = prng.pick([
        [1],
        [2, 4, Math.floor(mss / 256), mss % 256],
        [2, 4, Math.floor(mss / 256), mss % 256],
        [3, 3, 7],
        [4, 2],
        [8, 10, 0, 0, 0, 1, 0, 0, 0, 0],
        [prng.below(256), prng.below(12), prng.below(256)],
        [0],
      ]);
      options.push(...one);
    }
    const padded = new Uint8Array(Math.min(40, Math.ceil(options.length / 4) * 4));
    padded.set(options.slice(0, padded.length));
    return padded;
  }

  /** IPv4 options: some with the copied flag, some that do not parse. */
  #options(): Uint8Array {
    const prng = this.#prng;
    const options: number[] = [];
    while (options.length < 30 && prng.chance(0.7)) {
      const one = prng.pick([
        [1],
        [7, 7, 4, 0, 0, 0, 0],
        [0x94, 4, 0, 0],
        [0x83, 7, 4, 10, 0, 0, 1],
        [0x44, 8, 5, 0, 0, 0, 0, 0],
        [prng.below(256), prng.below(8)],
      ]);
      options.push(...one);
    }
    return Uint8Array.from(options.slice(0, 40));
  }

  /** Some part of the pool: as good as fresh random bytes, and a long run does not spend itself on making them. */
  #bytes(length: number): Uint8Array {
    const from = this.#prng.below(this.#pool.length - length);
    return this.#pool.slice(from, from + length);
  }
}
