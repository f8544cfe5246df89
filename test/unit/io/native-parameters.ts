/** What the parameters of native functions take and what they must refuse: for test/unit/io/native-arguments.test.ts. */

/** Not open in any process: descriptors end far below. Functions that reach the kernel with it get EBADF. */
export const CLOSED = 0x7fff_0000;

type Kind =
  | 'fd'
  | 'integer'
  | 'boolean'
  | 'text'
  | 'bytes'
  | 'int32'
  | 'uint32'
  | 'float64'
  | 'function'
  | 'watcher';

export interface Parameter {
  readonly kind: Kind;
  readonly valid: unknown;
  /** Right type, wrong value. */
  readonly outside?: readonly unknown[];
}

export const fd: Parameter = {
  kind: 'fd',
  valid: CLOSED,
  outside: [-1, 0x8000_0000, 1.5, Number.NaN, Number.POSITIVE_INFINITY],
};

export function integer(valid: number, ...outside: number[]): Parameter {
  return { kind: 'integer', valid, outside: [...outside, valid + 0.5, Number.NaN, 2 ** 53, -(2 ** 53)] };
}

export function text(valid: string, longest: number): Parameter {
  return { kind: 'text', valid, outside: ['', 'x'.repeat(longest + 1), `${valid}\0`, 'ä'.repeat(longest)] };
}

export function detached<T>(type: new (buffer: ArrayBuffer) => T): T {
  const buffer = new ArrayBuffer(64);
  const array = new type(buffer);
  structuredClone(buffer, { transfer: [buffer] });
  return array;
}

/** Values of every type that the parameter does not take. */
export function wrongTypes(kind: Kind): unknown[] {
  const all: [Kind[], unknown][] = [
    [[], undefined],
    [[], null],
    [[], Symbol('s')],
    [[], 1n],
    [[], {}],
    [[], [1, 2]],
    [[], new DataView(new ArrayBuffer(8))],
    [[], new ArrayBuffer(8)],
    [['float64'], new Float64Array(8)],
    [[], new Int16Array(8)],
    [[], new Uint8ClampedArray(400)],
    [['boolean'], true],
    [['text'], 'text'],
    [['fd', 'integer'], 7],
    [['function'], () => {}],
    [['bytes'], new Uint8Array(400)],
    [['int32'], new Int32Array(4)],
    [['uint32'], new Uint32Array(4)],
  ];
  return all.filter(([kinds]) => !kinds.includes(kind)).map(([, value]) => value);
}
