import { assert } from '../base/assert.ts';

/** Instruction codes of classic BPF (linux/bpf_common.h), as far as programs here use them. */
export const CODE = {
  /** A = word at k */
  LOAD_WORD_AT: 0x20,
  LOAD_HALF_AT: 0x28,
  LOAD_BYTE_AT: 0x30,
  /** A = word at X + k */
  LOAD_WORD: 0x40,
  LOAD_HALF: 0x48,
  LOAD_BYTE: 0x50,
  /** A = length of the packet */
  LOAD_LENGTH: 0x80,
  /** X = 4 * (byte at k & 15) */
  LOAD_X_IHL: 0xb1,
  /** X = k */
  LOAD_X: 0x01,
  LOAD_X_MEMORY: 0x61,
  /** A = M[k] */
  LOAD_MEMORY: 0x60,
  /** M[k] = A */
  STORE: 0x02,
  STORE_X: 0x03,
  ADD: 0x04,
  ADD_X: 0x0c,
  SUBTRACT_X: 0x1c,
  MULTIPLY: 0x24,
  MODULO: 0x94,
  AND: 0x54,
  SHIFT_LEFT: 0x64,
  SHIFT_RIGHT: 0x74,
  XOR_X: 0xac,
  TO_X: 0x07,
  FROM_X: 0x87,
  IF_EQUAL: 0x15,
  IF_EQUAL_X: 0x1d,
  IF_AT_LEAST: 0x35,
  IF_ABOVE_X: 0x2d,
  IF_BITS: 0x45,
  JUMP: 0x05,
  RETURN: 0x06,
} as const;

export interface Instruction {
  readonly code: number;
  readonly k: number;
  /** Labels; absent is the next instruction. */
  readonly yes?: string;
  readonly no?: string;
}

export type Line = Instruction | string;

/**
 * The program in the form that Native.rawFilter takes. Resolves labels to the relative jumps of classic BPF: unsigned, counted from the next
 * instruction, at most 255.
 */
export function assemble(lines: readonly Line[]): Uint32Array {
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
    const always = instruction.code === CODE.JUMP;
    const ifYes = always ? 0 : distance(instruction.yes);
    const ifNo = distance(instruction.no);
    program[at * 2] = (instruction.code | (ifYes << 16) | (ifNo << 24)) >>> 0;
    program[at * 2 + 1] = always ? distance(instruction.yes) : instruction.k;
  });
  return program;
}
