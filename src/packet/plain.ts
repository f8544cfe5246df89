import { flowHashOf, hasPorts } from './flow.ts';
import { FOU } from './fou.ts';
import { IPV4, PROTOCOL } from './ipv4.ts';
import { TCP } from './tcp.ts';

/**
 * The header that nearly every packet has, read by whole words: version 4 and no options. These functions only ever say that a packet is
 * plain; what is not goes through checkInner, checkOuter and clampMss, which know everything else and name the reason of a drop.
 *
 * Through a DataView, because V8 makes one load and one byte swap of a getInt32, on a host of either byte order. bench/packet.bench.ts has
 * "plainLength" at 3.5 ns against 10.8 for "checkInner" by bytes, and 4.3 for words of an Int32Array that were swapped where needed.
 * Like every function of this folder they check bounds once; a DataView would throw where an array reads `undefined`.
 */

// Constants of this module are compiled into the code; an imported one is loaded at each use (fib/lookup.ts).
const { HEADER_BYTES } = IPV4;
const { TCP: TCP_PROTOCOL } = PROTOCOL;
const { HEADER_BYTES: FOU_BYTES, LENGTH: FOU_LENGTH } = FOU;
const TTL_PROTOCOL = IPV4.TTL;
const SOURCE = IPV4.SOURCE;
const DESTINATION = IPV4.DESTINATION;
const ID_FRAGMENT = IPV4.ID;
/** The word that holds data offset and flags of a TCP header behind a plain header, and SYN in it. */
const TCP_FLAGS_WORD = IPV4.HEADER_BYTES + TCP.DATA_OFFSET;
const TCP_BYTES_MIN = IPV4.HEADER_BYTES + TCP.HEADER_BYTES;
const SYN_BIT = TCP.SYN << 16;
const VERSION_4_IHL_5 = 0x45;
const LENGTH_MAX = 65_535;
const FRAGMENT_BITS = IPV4.MF | IPV4.OFFSET_MASK;

/**
 * The total length of the packet at `at` when its header is plain and in order: no options, its checksum right, its TTL not 0, and header
 * and payload inside the `available` bytes; else 0. Where it is not 0, checkInner says FORWARD of the same packet. RFC 791 §3.1.
 */
export function plainLength(view: DataView, at: number, available: number): number {
  if (available < HEADER_BYTES) return 0;
  const first = view.getInt32(at);
  const second = view.getInt32((at + ID_FRAGMENT) | 0);
  const third = view.getInt32((at + TTL_PROTOCOL) | 0);
  const source = view.getInt32((at + SOURCE) | 0);
  const destination = view.getInt32((at + DESTINATION) | 0);
  const sum =
    (first & 0xffff) +
    (first >>> 16) +
    (second & 0xffff) +
    (second >>> 16) +
    (third & 0xffff) +
    (third >>> 16) +
    (source & 0xffff) +
    (source >>> 16) +
    (destination & 0xffff) +
    (destination >>> 16);
  const length = first & 0xffff;
  if (first >>> 24 !== VERSION_4_IHL_5 || length < HEADER_BYTES || length > available) return 0;
  // One fold is enough to tell: with the first half-word at least 0x4500 the sum is no multiple of 0xffff but 0xffff … 9 * 0xffff, and
  // each of those folds to 0xffff at once.
  if ((sum & 0xffff) + (sum >>> 16) !== 0xffff || third >>> 24 === 0) return 0;
  return length;
}

/**
 * Bytes behind the header of the packet from the underlay at `at`, of those `available`, when that header is plain, of `protocol` and no
 * fragment; else 0. Where it is not 0, checkOuter says FORWARD, and outerPayload the same number. RFC 1812 §5.2.2.
 */
export function plainPayload(view: DataView, at: number, available: number, protocol: number): number {
  const length = plainLength(view, at, available < HEADER_BYTES ? 0 : LENGTH_MAX);
  if (length === 0 || plainProtocol(view, at) !== protocol) return 0;
  if ((view.getInt32((at + ID_FRAGMENT) | 0) & FRAGMENT_BITS) !== 0) return 0;
  return (length < available ? length - HEADER_BYTES : available - HEADER_BYTES) | 0;
}

/**
 * Bytes behind the UDP header at `at`, of those `available`, when it is addressed to `port` and has no checksum; else 0. Where it is not 0,
 * checkFou says FORWARD, and fouPayload the same number.
 */
export function plainFouPayload(view: DataView, at: number, available: number, port: number): number {
  if (available < FOU_BYTES || (view.getInt32(at) & 0xffff) !== port) return 0;
  const lengthCheck = view.getInt32((at + FOU_LENGTH) | 0);
  const length = lengthCheck >>> 16;
  return (lengthCheck & 0xffff) === 0 && length >= FOU_BYTES && length <= available
    ? (length - FOU_BYTES) | 0
    : 0;
}

/** The protocol of the plain packet at `at`. */
export function plainProtocol(view: DataView, at: number): number {
  return (view.getInt32((at + TTL_PROTOCOL) | 0) >>> 16) & 0xff;
}

/** 1 when the plain packet at `at`, of `length` bytes, may be a SYN or SYN/ACK: what clampMss has to look at. A later fragment may seem one. */
export function mayBeSyn(view: DataView, at: number, length: number): number {
  if (((view.getInt32((at + TTL_PROTOCOL) | 0) >>> 16) & 0xff) !== TCP_PROTOCOL || length < TCP_BYTES_MIN)
    return 0;
  return (view.getInt32((at + TCP_FLAGS_WORD) | 0) & SYN_BIT) === 0 ? 0 : 1;
}

/** flowHash of the plain packet at `at`, of `length` bytes. */
export function plainFlowHash(view: DataView, at: number, length: number): number {
  const protocol = plainProtocol(view, at);
  const hasNoPorts =
    length < HEADER_BYTES + 4 ||
    (view.getInt32((at + ID_FRAGMENT) | 0) & FRAGMENT_BITS) !== 0 ||
    !hasPorts(protocol);
  const ports = hasNoPorts ? 0 : view.getInt32((at + HEADER_BYTES) | 0);
  return flowHashOf(view.getInt32((at + SOURCE) | 0), view.getInt32((at + DESTINATION) | 0), protocol, ports);
}

/** The fields of an address, in host order, as an i32. */
export function plainSource(view: DataView, at: number): number {
  return view.getInt32((at + SOURCE) | 0);
}

export function plainDestination(view: DataView, at: number): number {
  return view.getInt32((at + DESTINATION) | 0);
}
