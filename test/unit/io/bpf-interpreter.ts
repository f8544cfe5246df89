/**
 * Classic BPF as the kernel's documentation describes it (Documentation/networking/filter.rst), for the instructions that socket
 * filters use: the oracle for what a filter does with a packet. Returns what the filter returns: 0 drops. `networkHeader` is what lies before
 * the packet in memory where its socket sees it without.
 */
export function runFilter(
  program: Uint32Array,
  packet: Uint8Array,
  networkHeader: Uint8Array = packet,
): number {
  const memory = new Uint32Array(16);
  let a = 0;
  let x = 0;
  const load = (offset: number, bytes: number): number | undefined => {
    // SKF_NET_OFF
    const from = offset >= 0xfff0_0000 ? networkHeader : packet;
    const at = offset >= 0xfff0_0000 ? offset - 0xfff0_0000 : offset;
    if (at + bytes > from.length) return undefined;
    let value = 0;
    for (let i = 0; i < bytes; i++) value = value * 256 + from[at + i]!;
    return value;
  };
  for (let pc = 0; pc * 2 < program.length; pc++) {
    const head = program[pc * 2]!;
    const k = program[pc * 2 + 1]!;
    const code = head & 0xffff;
    const size = [4, 2, 1][(code >> 3) & 3];
    const operand = (code & 8) !== 0 ? x : k;
    const jump = (yes: boolean): void => {
      pc += yes ? (head >>> 16) & 255 : head >>> 24;
    };
    switch (code & 7) {
      case 0: {
        const mode = code >> 5;
        if (mode === 4) a = packet.length;
        else if (mode === 3) a = memory[k]!;
        else {
          const value = load(mode === 2 ? x + k : k, size!);
          if (value === undefined) return 0;
          a = value;
        }
        break;
      }
      case 1: {
        if (code === 0x61) x = memory[k]!;
        else if (code === 0x01) x = k;
        else if (code === 0xb1) {
          const value = load(k, 1);
          if (value === undefined) return 0;
          x = (value & 15) * 4;
        } else throw new Error(`instruction ${code.toString(16)} is not known`);
        break;
      }
      case 2:
        memory[k] = a;
        break;
      case 3:
        memory[k] = x;
        break;
      case 4:
        a = arithmetic(code >> 4, a, operand);
        break;
      case 5:
        if (code >> 4 === 0) pc += k;
        else if (code >> 4 === 1) jump(a === operand);
        else if (code >> 4 === 2) jump(a > operand);
        else if (code >> 4 === 3) jump(a >= operand);
        else jump((a & operand) !== 0);
        break;
      case 6:
        return k;
      default:
        if (code === 0x07) x = a;
        else a = x;
    }
  }
  throw new Error('the program ended without a return');
}

function arithmetic(operation: number, a: number, operand: number): number {
  switch (operation) {
    case 0:
      return (a + operand) >>> 0;
    case 1:
      return (a - operand) >>> 0;
    case 2:
      return Math.imul(a, operand) >>> 0;
    case 5:
      return (a & operand) >>> 0;
    case 6:
      return (a << operand) >>> 0;
    case 7:
      return a >>> operand;
    case 9:
      return a % operand;
    case 10:
      return (a ^ operand) >>> 0;
    default:
      throw new Error(`operation ${operation} is not known`);
  }
}
