import type { Address, IpAddress } from '../base/address.ts';
import { type Address6, wordsOf } from '../base/address6.ts';
import { assert } from '../base/assert.ts';
import { FOU } from '../packet/fou.ts';
import { IPV6 } from '../packet/ipv6.ts';
import { assemble, CODE, type Line } from './socket-filter.ts';
import type { UnderlayProtocol } from './underlay-protocol.ts';

/** Most workers that may share the underlay's traffic; `tunnel.workers` has the same limit. */
export const WORKERS_MAX = 32;

const ACCEPT_WHOLE = 0xffff_ffff;

/** SKF_NET_OFF of linux/filter.h: offsets from here on count from the network header. */
const NETWORK_HEADER = 0xfff0_0000;

/** Of a worker, which of the packets of `protocol` it takes. */
export interface Share {
  readonly index: number;
  readonly count: number;
  /** Of `family`, at most OWN_ADDRESSES_MAX; empty: every address is ours. */
  readonly own?: readonly IpAddress[];
  readonly protocol?: UnderlayProtocol;
  /** Of the underlay. */
  readonly family?: 4 | 6;
}

/** Offset of the destination in an IPv4 header. */
const OUTER_DESTINATION = 16;

/** Our addresses of one moment: the present one, and those given up within the grace period. */
export const OWN_ADDRESSES_MAX = 8;

/**
 * The socket filter (classic BPF, SO_ATTACH_FILTER) that leaves worker `index` of `count` its share of the underlay's packets, in
 * the form that Native.rawFilter takes: of those whose outer destination is one of `own`, or of all when `own` is empty,
 * and with UDP of those to its port. Undefined
 * where it would accept everything. Every such packet passes exactly one of the `count` programs, and all packets of a flow the same
 * one, so that a flow is never reordered between workers.
 *
 * Addresses are compared here, where bind(2) would do for one, because the filter of an open socket is replaced in one step and holds
 * several: an address that changes under traffic costs no packet that still comes to the old one.
 *
 * The hash is over inner source and destination, and the ports where the inner packet is TCP or UDP and no fragment (the first
 * fragment must go where the others go). The kernel has reassembled and checked the outer header before a raw socket's filter runs,
 * but the packet may end anywhere behind it. A load beyond the end would end the program with "drop" in every worker, and nobody
 * would count the packet as truncated; so lengths are checked first, and what is too short is worker 0's.
 */
export function shareProgram({
  index,
  count,
  own = [],
  protocol = 'ipip',
  family = 4,
}: Share): Uint32Array | undefined {
  assert(Number.isInteger(count) && count >= 1 && count <= WORKERS_MAX, `1 <= workers <= ${WORKERS_MAX}`);
  assert(Number.isInteger(index) && index >= 0 && index < count, 'worker index below the number of workers');
  assert(own.length <= OWN_ADDRESSES_MAX, `at most ${OWN_ADDRESSES_MAX} addresses`);
  if (count === 1 && own.length === 0 && typeof protocol === 'string') return undefined;
  const own6 = own.filter((address) => typeof address === 'bigint');
  return assemble([
    ...(family === 4 ? onlyTo(own.filter((address) => typeof address === 'number')) : onlyTo6(own6)),
    // X = bytes of the outer headers, which the kernel has taken off those of IPv6.
    family === 4 ? { code: CODE.LOAD_X_IHL, k: 0 } : { code: CODE.LOAD_X, k: 0 },
    ...(typeof protocol === 'string' ? [] : onlyToPort(protocol.udpPort)),
    ...(count === 1 ? [] : shareOf(index, count, protocol)),
    'accept',
    { code: CODE.RETURN, k: ACCEPT_WHOLE },
    'reject',
    { code: CODE.RETURN, k: 0 },
  ]);
}

/** Goes on with what is addressed to one of `own`. A raw socket's packet has a whole outer header: the kernel has checked it. */
function onlyTo(own: readonly Address[]): Line[] {
  if (own.length === 0) return [];
  const last = own.length - 1;
  return [
    { code: CODE.LOAD_WORD_AT, k: OUTER_DESTINATION },
    ...own.map((address, at) => ({
      ...{ code: CODE.IF_EQUAL, k: address, yes: 'ours' },
      ...(at === last ? { no: 'reject' } : {}),
    })),
    'ours',
  ];
}

/** The same of IPv6, whose header lies before what the filter sees as the packet. */
function onlyTo6(own: readonly Address6[]): Line[] {
  if (own.length === 0) return [];
  return [
    ...own.flatMap((address, at) => {
      const no = at === own.length - 1 ? 'reject' : `not ${at}`;
      return [
        ...wordsOf(address).flatMap((word, index) => [
          { code: CODE.LOAD_WORD_AT, k: NETWORK_HEADER + IPV6.DESTINATION + 4 * index },
          { code: CODE.IF_EQUAL, k: word, no, ...(index === 3 ? { yes: 'ours' } : {}) },
        ]),
        ...(at === own.length - 1 ? [] : [no]),
      ];
    }),
    'ours',
  ];
}

/** Goes on with what is addressed to the port, with X behind the UDP header; what ends before it is no whole datagram to anybody. */
function onlyToPort(port: number): Line[] {
  return [
    { code: CODE.LOAD_HALF, k: FOU.DESTINATION_PORT },
    { code: CODE.IF_EQUAL, k: port, no: 'reject' },
    { code: CODE.FROM_X, k: 0 },
    { code: CODE.ADD, k: FOU.HEADER_BYTES },
    { code: CODE.TO_X, k: 0 },
  ];
}

/** Ends at `accept` or `reject`. */
function shareOf(index: number, count: number, protocol: UnderlayProtocol): Line[] {
  return [
    // Is there a whole inner header behind the outer ones?
    { code: CODE.LOAD_LENGTH, k: 0 },
    { code: CODE.IF_ABOVE_X, k: 0, no: 'short' },
    { code: CODE.SUBTRACT_X, k: 0 },
    { code: CODE.IF_AT_LEAST, k: 20, no: 'short' },
    // With UDP the version says what is inside.
    ...(protocol === 'ipip' ? [] : IS_IPV6),
    // M[0] = hash of the addresses. M[1] keeps X, the only index register, while X is an operand.
    { code: CODE.LOAD_WORD, k: 12 },
    { code: CODE.MULTIPLY, k: 0x9e37_79b1 },
    { code: CODE.STORE, k: 0 },
    { code: CODE.SHIFT_RIGHT, k: 15 },
    ...xorIntoHash(),
    { code: CODE.LOAD_WORD, k: 16 },
    ...xorIntoHash(),
    { code: CODE.MULTIPLY, k: 0x85eb_ca6b },
    { code: CODE.STORE, k: 0 },
    // Ports: only of an unfragmented TCP or UDP packet. 0x3fff is MF and the offset.
    { code: CODE.LOAD_HALF, k: 6 },
    { code: CODE.IF_BITS, k: 0x3fff, yes: 'mix' },
    { code: CODE.LOAD_BYTE, k: 9 },
    { code: CODE.IF_EQUAL, k: 6, yes: 'ports' },
    { code: CODE.IF_EQUAL, k: 17, yes: 'ports', no: 'mix' },
    'ports',
    { code: CODE.LOAD_BYTE, k: 0 },
    { code: CODE.AND, k: 15 },
    { code: CODE.SHIFT_LEFT, k: 2 },
    { code: CODE.ADD_X, k: 0 },
    { code: CODE.TO_X, k: 0 },
    { code: CODE.LOAD_LENGTH, k: 0 },
    { code: CODE.IF_ABOVE_X, k: 0, no: 'mix' },
    { code: CODE.SUBTRACT_X, k: 0 },
    { code: CODE.IF_AT_LEAST, k: 4, no: 'mix' },
    { code: CODE.LOAD_WORD, k: 0 },
    ...xorIntoHash(),
    ...(protocol === 'ipip' ? [] : hashOfIpv6()),
    'mix',
    ...fold(16, 0xc2b2_ae35),
    ...fold(13, 0x27d4_eb2f),
    ...fold(16, 1),
    { code: CODE.MODULO, k: count },
    { code: CODE.IF_EQUAL, k: index, yes: 'accept', no: 'reject' },
    'short',
    { code: CODE.JUMP, k: 0, yes: index === 0 ? 'accept' : 'reject' },
  ];
}

const IS_IPV6: readonly Line[] = [
  { code: CODE.LOAD_BYTE, k: 0 },
  { code: CODE.SHIFT_RIGHT, k: 4 },
  { code: CODE.IF_EQUAL, k: 6, yes: 'ipv6' },
];

/**
 * The same of an IPv6 packet, whose ports count only right behind its header: fragments have another header there, all of them. Reached
 * from above at its label alone.
 */
function hashOfIpv6(): Line[] {
  const words = [12, 16, 20, 24, 28, 32, 36];
  return [
    { code: CODE.JUMP, k: 0, yes: 'mix' },
    'ipv6',
    { code: CODE.LOAD_LENGTH, k: 0 },
    { code: CODE.SUBTRACT_X, k: 0 },
    { code: CODE.IF_AT_LEAST, k: 44, no: 'short' },
    { code: CODE.LOAD_WORD, k: 8 },
    { code: CODE.MULTIPLY, k: 0x9e37_79b1 },
    { code: CODE.STORE, k: 0 },
    ...words.flatMap((k) => [
      { code: CODE.SHIFT_RIGHT, k: 15 },
      ...xorIntoHash(),
      { code: CODE.LOAD_WORD, k },
      ...xorIntoHash(),
      { code: CODE.MULTIPLY, k: 0x85eb_ca6b },
      { code: CODE.STORE, k: 0 },
    ]),
    { code: CODE.LOAD_BYTE, k: 6 },
    { code: CODE.IF_EQUAL, k: 6, yes: 'ports6' },
    { code: CODE.IF_EQUAL, k: 17, no: 'mix' },
    'ports6',
    { code: CODE.LOAD_WORD, k: 40 },
    ...xorIntoHash(),
  ];
}

/** A = M[0] = A ^ M[0]; X stays. `STX` and its reload are the price of one index register. */
function xorIntoHash(): Line[] {
  return [
    { code: CODE.STORE_X, k: 1 },
    { code: CODE.LOAD_X_MEMORY, k: 0 },
    { code: CODE.XOR_X, k: 0 },
    { code: CODE.STORE, k: 0 },
    { code: CODE.LOAD_X_MEMORY, k: 1 },
  ];
}

/** M[0] = (M[0] ^ M[0] >> shift) * factor: brings the high bits, where multiplication gathers, down to where modulo looks. */
function fold(shift: number, factor: number): Line[] {
  return [
    { code: CODE.LOAD_MEMORY, k: 0 },
    { code: CODE.SHIFT_RIGHT, k: shift },
    { code: CODE.LOAD_X_MEMORY, k: 0 },
    { code: CODE.XOR_X, k: 0 },
    { code: CODE.MULTIPLY, k: factor },
    { code: CODE.STORE, k: 0 },
  ];
}
