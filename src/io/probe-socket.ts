import type { Family, IpAddress } from '../base/address.ts';
import { wordsOf } from '../base/address6.ts';
import { IoError } from '../base/errors.ts';
import { PROBE_PORT } from '../base/limits.ts';
import { IPV4, PROTOCOL } from '../packet/ipv4.ts';
import { IPV6 } from '../packet/ipv6.ts';
import {
  PROBE_DESTINATION_PORT_AT,
  PROBE_INNER_BYTES,
  PROBE_UDP,
  PROBE6_INNER_BYTES,
} from '../packet/probe.ts';
import { Batch, PACKET_BYTES_MAX } from './batch.ts';
import { errnoName } from './errno.ts';
import type { Native } from './native.ts';
import { assemble, CODE } from './socket-filter.ts';

/** IPPROTO_RAW: receives nothing. */
const PROTOCOL_NONE = 255;

/** A search of a path sends 24 packets at once; of several paths, at jumbo frames, this many bytes. */
const SEND_BUFFER_BYTES = 1 << 20;

const RECEIVE_MAX = 16;

/**
 * Sends probes of peers by a raw socket like that of the packets, and hears those that come back reflected. These come plain, with our own
 * address as source and destination: the kernel takes such packets for forged (RFC 1812 §5.3.7) and shows them to nobody but a packet
 * socket. Main thread only.
 */
export class ProbeSocket {
  /** One packet, to be written from 0 on before `send`. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #native: Native;
  readonly #family: Family;
  readonly #fd: number;
  readonly #batch: Batch;
  #source: IpAddress | undefined;
  #listening: { readonly fd: number; readonly watcher: object } | undefined;
  #failed = 0;

  /** Of the family of the underlay. Throws an IoError. */
  constructor(native: Native, family: Family) {
    this.#native = native;
    this.#family = family;
    const open = family === 'ipv4' ? native.rawOpen : native.rawOpen6;
    this.#fd = open(PROTOCOL_NONE, 0, SEND_BUFFER_BYTES);
    if (this.#fd < 0) throw new IoError('socket', errnoName(this.#fd), 'raw socket for probes');
    this.bytes = new Uint8Array(PACKET_BYTES_MAX);
    this.#batch = new Batch(this.bytes, 1);
    this.view = this.#batch.view;
  }

  /** Probes that the kernel did not take: too long for the device, or no way to the peer. */
  get failed(): number {
    return this.#failed;
  }

  /** Sends the first `lengthBytes` of `bytes`. The way is looked up as one who has `source`. */
  send(source: IpAddress, destination: IpAddress, lengthBytes: number): void {
    if (source !== this.#source) {
      // Where the address is not on this host now, the way is picked by the destination alone, as for the packets.
      if (this.#bind(source) < 0) this.#bind(this.#family === 'ipv4' ? 0 : 0n);
      this.#source = source;
    }
    const { at, length, pieces, address } = this.#batch;
    length[0] = lengthBytes;
    // A packet of IPv6 goes where its header says.
    address[0] = typeof destination === 'number' ? destination : 0;
    if (this.#native.rawSend(this.#fd, this.bytes, at, length, pieces, address, 0, 1) < 1) this.#failed += 1;
  }

  #bind(address: IpAddress): number {
    return typeof address === 'number'
      ? this.#native.rawBind(this.#fd, address)
      : this.#native.rawBind6(this.#fd, Uint32Array.from(wordsOf(address)));
  }

  /**
   * Calls `handler` with the beginning of each reflected probe from now on, from its (only) IP header on, PROBE_INNER_BYTES or PROBE6_INNER_BYTES. Idempotent. Throws an
   * IoError.
   */
  listen(handler: (inner: Uint8Array) => void): void {
    if (this.#listening !== undefined) return;
    const native = this.#native;
    const fd = native.linkOpen(0);
    if (fd < 0) throw new IoError('socket', errnoName(fd), 'packet socket for reflected probes');
    const isIpv4 = this.#family === 'ipv4';
    const filtered = native.rawFilter(fd, isIpv4 ? reflectedProbes() : reflectedProbes6());
    const bound = filtered < 0 ? filtered : native.linkListen(fd, isIpv4 ? ETHER_TYPE.IPV4 : ETHER_TYPE.IPV6);
    if (bound < 0) {
      native.close(fd);
      throw new IoError('bind', errnoName(bound), 'packet socket for reflected probes');
    }
    const room = new Batch(new Uint8Array(RECEIVE_MAX * ROOM_BYTES), RECEIVE_MAX, ROOM_LAYOUT);
    const innerBytes = isIpv4 ? PROBE_INNER_BYTES : PROBE6_INNER_BYTES;
    const receive = (): void => {
      const { bytes, at, length, layout } = room;
      const count = native.rawReceive(fd, bytes, at, length, layout, RECEIVE_MAX);
      for (let i = 0; i < count; i++)
        if (length[i]! >= innerBytes) handler(bytes.slice(at[i]!, at[i]! + innerBytes));
    };
    this.#listening = { fd, watcher: native.watch(fd, receive) };
  }

  close(): void {
    if (this.#listening !== undefined) {
      this.#native.unwatch(this.#listening.watcher);
      this.#native.close(this.#listening.fd);
      this.#listening = undefined;
    }
    this.#native.close(this.#fd);
  }
}

const ROOM_BYTES = 128;
const ROOM_LAYOUT = Int32Array.of(0, ROOM_BYTES, ROOM_BYTES, 0, 0, 0);

/** linux/if_ether.h. */
const ETHER_TYPE = { IPV4: 0x0800, IPV6: 0x86dd } as const;

const VERSION_4_IHL_5 = 0x45;

/** UDP to PROBE_PORT whose source is its destination; cut to what is looked at. */
function reflectedProbes(): Uint32Array {
  return assemble([
    { code: CODE.LOAD_BYTE_AT, k: IPV4.VERSION_IHL },
    { code: CODE.IF_EQUAL, k: VERSION_4_IHL_5, no: 'reject' },
    { code: CODE.LOAD_BYTE_AT, k: IPV4.PROTOCOL },
    { code: CODE.IF_EQUAL, k: PROTOCOL.UDP, no: 'reject' },
    { code: CODE.LOAD_HALF_AT, k: PROBE_DESTINATION_PORT_AT },
    { code: CODE.IF_EQUAL, k: PROBE_PORT, no: 'reject' },
    { code: CODE.LOAD_WORD_AT, k: IPV4.SOURCE },
    { code: CODE.TO_X, k: 0 },
    { code: CODE.LOAD_WORD_AT, k: IPV4.DESTINATION },
    { code: CODE.IF_EQUAL_X, k: 0, no: 'reject' },
    { code: CODE.RETURN, k: ROOM_BYTES },
    'reject',
    { code: CODE.RETURN, k: 0 },
  ]);
}

/** The same of IPv6: right behind its header, from an address to itself. */
function reflectedProbes6(): Uint32Array {
  const isSame = [0, 4, 8, 12].flatMap((word) => [
    { code: CODE.LOAD_WORD_AT, k: IPV6.SOURCE + word },
    { code: CODE.TO_X, k: 0 },
    { code: CODE.LOAD_WORD_AT, k: IPV6.DESTINATION + word },
    { code: CODE.IF_EQUAL_X, k: 0, no: 'reject' },
  ]);
  return assemble([
    { code: CODE.LOAD_BYTE_AT, k: IPV6.NEXT_HEADER },
    { code: CODE.IF_EQUAL, k: PROTOCOL.UDP, no: 'reject' },
    { code: CODE.LOAD_HALF_AT, k: IPV6.HEADER_BYTES + PROBE_UDP.DESTINATION_PORT },
    { code: CODE.IF_EQUAL, k: PROBE_PORT, no: 'reject' },
    ...isSame,
    { code: CODE.RETURN, k: ROOM_BYTES },
    'reject',
    { code: CODE.RETURN, k: 0 },
  ]);
}
