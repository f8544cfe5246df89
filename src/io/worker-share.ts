import type { Address } from '../base/address.ts';
import { assert } from '../base/assert.ts';

/** Most workers that may share the underlay's traffic; `tunnel.workers` has the same limit. */
export const WORKERS_MAX = 32;

/** Instruction codes of classic BPF (linux/bpf_common.h), as far as the program below uses them. */
const LOAD_WORD_AT = 0x20; // A = word at k
const LOAD_WORD = 0x40; // A = word at X + k
const LOAD_HALF = 0x48;
const LOAD_BYTE = 0x50;
const LOAD_LENGTH = 0x80; // A = length of the packet
const LOAD_X_IHL = 0xb1; // X = 4 * (byte at k & 15)
const LOAD_X_MEMORY = 0x61;
const LOAD_MEMORY = 0x60; // A = M[k]
const STORE = 0x02; // M[k] = A
const STORE_X = 0x03;
const ADD_X = 0x0c;
const SUBTRACT_X = 0x1c;
const MULTIPLY = 0x24;
const MODULO = 0x94;
const AND = 0x54;
const SHIFT_LEFT = 0x64;
const SHIFT_RIGHT = 0x74;
const XOR_X = 0xac;
const TO_X = 0x07;
const IF_EQUAL = 0x15;
const IF_AT_LEAST = 0x35;
const IF_ABOVE_X = 0x2d;
const IF_BITS = 0x45;
const JUMP = 0x05;
const RETURN = 0x06;

const ACCEPT_WHOLE = 0xffff_ffff;

/** Offset of the destination in an IPv4 header. */
const OUTER_DESTINATION = 16;

/** Our addresses of one moment: the present one, and those given up within the grace period. */
export const OWN_ADDRESSES_MAX = 8;

interface Instruction {
  readonly code: number;
  readonly k: number;
  /** Labels; absent is the next instruction. */
  readonly yes?: string;
  readonly no?: string;
}

type Line = Instruction | string;

/**
 * The socket filter (classic BPF, SO_ATTACH_FILTER) that leaves worker `index` of `count` its share of the underlay's packets, in
 * the form that Native.rawFilter takes: of those whose outer destination is one of `own`, or of all when `own` is empty. Undefined
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
export function shareProgram(
  index: number,
  count: number,
  own: readonly Address[] = [],
): Uint32Array | undefined {
  assert(Number.isInteger(count) && count >= 1 && count <= WORKERS_MAX, `1 <= workers <= ${WORKERS_MAX}`);
  assert(Number.isInteger(index) && index >= 0 && index < count, 'worker index below the number of workers');
  assert(own.length <= OWN_ADDRESSES_MAX, `at most ${OWN_ADDRESSES_MAX} addresses`);
  if (count === 1 && own.length === 0) return undefined;
  return assemble([
    ...onlyTo(own),
    ...(count === 1 ? [] : shareOf(index, count)),
    'accept',
    { code: RETURN, k: ACCEPT_WHOLE },
    'reject',
    { code: RETURN, k: 0 },
  ]);
}

/** Goes on with what is addressed to one of `own`. A raw socket's packet has a whole outer header: the kernel has checked it. */
function onlyTo(own: readonly Address[]): Line[] {
  if (own.length === 0) return [];
  const last = own.length - 1;
  return [
    { code: LOAD_WORD_AT, k: OUTER_DESTINATION },
    ...own.map((address, at) => ({
      ...{ code: IF_EQUAL, k: address, yes: 'ours' },
      ...(at === last ? { no: 'reject' } : {}),
    })),
    'ours',
  ];
}

/** Ends at `accept` or `reject`. */
function shareOf(index: number, count: number): Line[] {
  return [
    // X = outer header length; is there a whole inner header behind it?
    { code: LOAD_X_IHL, k: 0 },
    { code: LOAD_LENGTH, k: 0 },
    { code: IF_ABOVE_X, k: 0, no: 'short' },
    { code: SUBTRACT_X, k: 0 },
    { code: IF_AT_LEAST, k: 20, no: 'short' },
    // M[0] = hash of the addresses. M[1] keeps X, the only index register, while X is an operand.
    { code: LOAD_WORD, k: 12 },
    { code: MULTIPLY, k: 0x9e37_79b1 },
    { code: STORE, k: 0 },
    { code: SHIFT_RIGHT, k: 15 },
    ...xorIntoHash(),
    { code: LOAD_WORD, k: 16 },
    ...xorIntoHash(),
    { code: MULTIPLY, k: 0x85eb_ca6b },
    { code: STORE, k: 0 },
    // Ports: only of an unfragmented TCP or UDP packet. 0x3fff is MF and the offset.
    { code: LOAD_HALF, k: 6 },
    { code: IF_BITS, k: 0x3fff, yes: 'mix' },
    { code: LOAD_BYTE, k: 9 },
    { code: IF_EQUAL, k: 6, yes: 'ports' },
    { code: IF_EQUAL, k: 17, yes: 'ports', no: 'mix' },
    'ports',
    { code: LOAD_BYTE, k: 0 },
    { code: AND, k: 15 },
    { code: SHIFT_LEFT, k: 2 },
    { code: ADD_X, k: 0 },
    { code: TO_X, k: 0 },
    { code: LOAD_LENGTH, k: 0 },
    { code: IF_ABOVE_X, k: 0, no: 'mix' },
    { code: SUBTRACT_X, k: 0 },
    { code: IF_AT_LEAST, k: 4, no: 'mix' },
    { code: LOAD_WORD, k: 0 },
    ...xorIntoHash(),
    'mix',
    ...fold(16, 0xc2b2_ae35),
    ...fold(13, 0x27d4_eb2f),
    ...fold(16, 1),
    { code: MODULO, k: count },
    { code: IF_EQUAL, k: index, yes: 'accept', no: 'reject' },
    'short',
    { code: JUMP, k: 0, yes: index === 0 ? 'accept' : 'reject' },
  ];
}

/** A = M[0] = A ^ M[0]; X stays. `STX` and its reload are the price of one index register. */
function xorIntoHash(): Line[] {
  return [
    { code: STORE_X, k: 1 },
    { code: LOAD_X_MEMORY, k: 0 },
    { code: XOR_X, k: 0 },
    { code: STORE, k: 0 },
    { code: LOAD_X_MEMORY, k: 1 },
  ];
}

/** M[0] = (M[0] ^ M[0] >> shift) * factor: brings the high bits, where multiplication gathers, down to where modulo looks. */
function fold(shift: number, factor: number): Line[] {
  return [
    { code: LOAD_MEMORY, k: 0 },
    { code: SHIFT_RIGHT, k: shift },
    { code: LOAD_X_MEMORY, k: 0 },
    { code: XOR_X, k: 0 },
    { code: MULTIPLY, k: factor },
    { code: STORE, k: 0 },
  ];
}

/** Resolves labels to the relative jumps of classic BPF: unsigned, counted from the next instruction, at most 255. */
function assemble(lines: readonly Line[]): Uint32Array {
  const labels = new Map<string, number>();
  const instructions: Instruction[] = [];
  for (const line of lines) {
    if (typeof line === 'string') labels.set(line, instructions.length);
    else instructions.push(line);
  }
  const program = new Uint32Array(instructions.length * 2);
  instructions.forEach((instruction, at) => {
    const distance = (label: string | undefined): number => {
      if (label === undefined) return 0;
      const target = labels.get(label);
      assert(target !== undefined, `label ${label} is defined`);
      const jump = target - at - 1;
      assert(jump >= 0 && jump <= 255, `label ${label} is within 255 instructions ahead`);
      return jump;
    };
    // An unconditional jump holds its distance in k.
    const always = instruction.code === JUMP;
    const ifYes = always ? 0 : distance(instruction.yes);
    const ifNo = distance(instruction.no);
    program[at * 2] = (instruction.code | (ifYes << 16) | (ifNo << 24)) >>> 0;
    program[at * 2 + 1] = always ? distance(instruction.yes) : instruction.k;
  });
  return program;
}
