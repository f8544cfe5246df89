import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { loadNative } from '../../../src/io/load.ts';
import {
  CALL_PACKETS_MAX,
  COUNT,
  LOAD,
  type Native,
  POLL_MAX,
  SEND,
  SPIN_MAX_US,
  TRIP,
  WAIT_CELL,
} from '../../../src/io/native.ts';
import { CLOSED, detached, fd, integer, type Parameter, text, wrongTypes } from './native-parameters.ts';

const EBADF = -9;
const SEED = 3;

/** Four slots of 100 bytes over shared memory, the kind of memory that the packet path uses. */
const BYTES = new Uint8Array(new SharedArrayBuffer(400));
const AT = Int32Array.of(0, 100, 200, 300);

const bytes: Parameter = {
  kind: 'bytes',
  valid: BYTES,
  outside: [detached(Uint8Array), new Uint8Array(0), BYTES.subarray(0, 399)],
};
const at: Parameter = {
  kind: 'int32',
  valid: AT,
  outside: [
    detached(Int32Array),
    AT.subarray(0, 3),
    Int32Array.of(-1, 100, 200, 300),
    Int32Array.of(0, 100, 301, 200),
    Int32Array.of(0, 100, 200, 0x7fff_ffff),
    Int32Array.of(0, 100, 200, -0x8000_0000),
  ],
};
const received: Parameter = {
  kind: 'int32',
  valid: new Int32Array(4),
  outside: [detached(Int32Array), new Int32Array(3)],
};
const lengths: Parameter = {
  kind: 'int32',
  valid: Int32Array.of(100, 100, 100, 100),
  outside: [
    detached(Int32Array),
    new Int32Array(3),
    Int32Array.of(100, 100, 100, 191),
    Int32Array.of(-1, 1, 1, 1),
    Int32Array.of(1, 1, 0x7fff_ffff, 1),
  ],
};
const addresses: Parameter = {
  kind: 'uint32',
  valid: new Uint32Array(4),
  outside: [detached(Uint32Array), new Uint32Array(3)],
};
/** Peer 0 for all packets, whose next hop is known, so that they reach the kernel. */
const peers: Parameter = {
  kind: 'int32',
  valid: new Int32Array(4),
  outside: [detached(Int32Array), new Int32Array(3)],
};
const hops: Parameter = {
  kind: 'uint32',
  valid: Uint32Array.of(0, 0, 1, 0, 0, 0, 0, 0),
  outside: [detached(Uint32Array)],
};
const capacity = integer(4, -1, 5, CALL_PACKETS_MAX + 1);
/** The header that is written has 40 bytes of each. */
const layout6: Parameter = {
  kind: 'int32',
  valid: Int32Array.of(0, 40, 40, 160, 60, 60),
  outside: [Int32Array.of(0, 40, 39, 160, 60, 60), Int32Array.of(0, 40, 40, 160, 61, 60)],
};
/** Four slots of 30 bytes, and four of 70 that begin with what the small ones hold. */
const LAYOUT = Int32Array.of(0, 30, 30, 120, 70, 70);
const layout: Parameter = {
  kind: 'int32',
  valid: LAYOUT,
  outside: [
    detached(Int32Array),
    LAYOUT.subarray(0, 5),
    LAYOUT.with(0, -1),
    LAYOUT.with(0, 281),
    LAYOUT.with(1, -1),
    LAYOUT.with(1, 124),
    LAYOUT.with(1, 0x7fff_ffff),
    LAYOUT.with(2, 0),
    LAYOUT.with(2, -1),
    LAYOUT.with(2, 70),
    LAYOUT.with(2, 0x7fff_ffff),
    LAYOUT.with(3, -1),
    LAYOUT.with(3, 121),
    LAYOUT.with(4, -1),
    LAYOUT.with(4, 71),
    LAYOUT.with(4, 0x7fff_ffff),
    LAYOUT.with(5, -1),
    LAYOUT.with(5, 71),
    LAYOUT.with(5, 0x7fff_ffff),
  ],
};
/** The first packet has two pieces behind its first ten bytes, the last one has one. */
const PIECES = Int32Array.of(2, 0, 0, 1, 0, 40, 350, 50, 100, 90, 0, 0);
const pieces: Parameter = {
  kind: 'int32',
  valid: PIECES,
  outside: [
    detached(Int32Array),
    PIECES.subarray(0, 3),
    PIECES.subarray(0, 9),
    PIECES.with(0, -1),
    PIECES.with(0, 257),
    PIECES.with(0, 0x7fff_ffff),
    PIECES.with(4, -1),
    PIECES.with(4, 361),
    PIECES.with(4, 0x7fff_ffff),
    PIECES.with(5, -1),
    PIECES.with(5, 51),
    PIECES.with(7, 51),
    PIECES.with(9, 101),
    PIECES.with(9, -0x8000_0000),
  ],
};
/** Of packets that have a vnet header before them. */
const behindVnet: Parameter = {
  kind: 'int32',
  valid: Int32Array.of(10, 110, 210, 300),
  outside: [new Int32Array(3).fill(10), AT.with(0, 9), AT.with(0, 10).with(3, 301), AT.with(0, -10)],
};
/** Headers would lie before the slab's first byte. */
const headerBytes = integer(0, -1, 1, 65);
const from = integer(0, -1, 5);
const to = integer(4, -1, 5, CALL_PACKETS_MAX + 1);

const address = integer(0, -1, 2 ** 32);
/** Never: each call of the load ends by itself. */
const nextMoment = integer(2 ** 51, -1);
const byteCount: Parameter = {
  kind: 'float64',
  valid: new Float64Array(1),
  outside: [detached(Float64Array), new Float64Array(0)],
};

function progressOf(cells: number): Parameter {
  const bad = [Number.NaN, -1, 2 ** 60].map((value) => new Float64Array(cells).fill(value));
  return {
    kind: 'float64',
    valid: new Float64Array(cells),
    outside: [detached(Float64Array), new Float64Array(cells - 1), ...bad],
  };
}

/** A TCP packet of 100 bytes behind an outer header, to be cut into three, and four slots for headers. */
BYTES[20] = 0x45;
BYTES[29] = 6;
BYTES[52] = 0x50;
const REQUEST = Int32Array.of(20, 100, 20, 160, 60, 1, 100, 0, 0, 20);
const request: Parameter = {
  kind: 'int32',
  valid: REQUEST,
  outside: [
    detached(Int32Array),
    REQUEST.subarray(0, 9),
    ...[19, 21, 301, -1, 0x7fff_ffff].map((value) => REQUEST.with(0, value)),
    ...[-1, 0, 39, 40, 381, 0x7fff_ffff].map((value) => REQUEST.with(1, value)),
    ...[-1, 0, 65_536].map((value) => REQUEST.with(2, value)),
    ...[-1, 161, 0x7fff_ffff].map((value) => REQUEST.with(3, value)),
    ...[-1, 0, 59, 61, 0x7fff_ffff].map((value) => REQUEST.with(4, value)),
    ...[-1, 65_437].map((value) => REQUEST.with(5, value)),
    ...[-1, 0, 65_536].map((value) => REQUEST.with(6, value)),
    REQUEST.with(7, -1),
    ...[-1, 4].map((value) => REQUEST.with(8, value)),
    // Of 28 bytes there is no room before this packet.
    ...[-1, 0, 19, 21, 28, 0x7fff_ffff].map((value) => REQUEST.with(9, value)),
  ],
};
const pairs: Parameter = {
  kind: 'int32',
  valid: new Int32Array(12),
  outside: [detached(Int32Array), new Int32Array(3), new Int32Array(11)],
};

/** Every function, its parameters, and what the valid ones give: a closed descriptor, so nothing is touched. */
const SURFACE: Record<keyof Native, readonly Parameter[]> = {
  tunOpen: [text('a', 15), integer(0, -1, 4)],
  tunPersist: [fd, { kind: 'boolean', valid: true }],
  tunOffload: [fd, integer(0, -1, 2 ** 31)],
  tunReceive: [fd, bytes, received, received, layout, capacity, headerBytes],
  tunSend: [fd, bytes, at, lengths, pieces, from, to, headerBytes],
  coalesce: [
    ...[bytes, behindVnet, lengths, received, received, received, received, capacity],
    ...[integer(1480, 67, 2 ** 31), integer(0, -1, 2)],
  ],
  rawOpen: [integer(4, 0, -1, 256), integer(0, -1, 2 ** 31), integer(0, -1, 2 ** 31)],
  rawBind: [fd, integer(0, -1, 2 ** 32)],
  rawOpen6: [integer(4, 0, -1, 256), integer(0, -1, 2 ** 31), integer(0, -1, 2 ** 31)],
  rawBind6: [
    fd,
    {
      kind: 'uint32',
      valid: new Uint32Array(4),
      outside: [detached(Uint32Array), new Uint32Array(3), new Uint32Array(5)],
    },
  ],
  rawReceive6: [fd, bytes, received, received, layout6, capacity, integer(4, 0, 256)],
  rawFilter: [
    fd,
    {
      kind: 'uint32',
      valid: Uint32Array.of(6, 0),
      outside: [detached(Uint32Array), new Uint32Array(0), new Uint32Array(3), new Uint32Array(1026)],
    },
  ],
  rawReceive: [fd, bytes, received, received, layout, capacity],
  rawSend: [fd, bytes, at, lengths, pieces, addresses, from, to],
  rawOverflow: [fd],
  udpHold: [integer(49_999, 0, 65_536)],
  segment: [bytes, request, received, received, pairs, from, to],
  linkOpen: [integer(0, -1, 2 ** 31)],
  linkListen: [fd, integer(0x0800, 0, 65_536)],
  linkSend: [fd, bytes, at, lengths, pieces, addresses, peers, hops, from, to],
  wakeOpen: [],
  wakeSignal: [fd],
  wakeDrain: [fd],
  poll: [
    { kind: 'int32', valid: Int32Array.of(CLOSED), outside: [detached(Int32Array), new Int32Array(0)] },
    integer(1, -1, 2, POLL_MAX + 1),
    integer(0, -2, 2 ** 31),
  ],
  wait: [
    { kind: 'int32', valid: Int32Array.of(CLOSED), outside: [detached(Int32Array), new Int32Array(0)] },
    integer(1, -1, 2, POLL_MAX + 1),
    integer(0, -2, 2 ** 31),
    integer(0, -1, SPIN_MAX_US + 1),
    { kind: 'int32', valid: new Int32Array(2), outside: [detached(Int32Array), new Int32Array(1)] },
  ],
  watch: [fd, { kind: 'function', valid: () => {} }],
  unwatch: [{ kind: 'watcher', valid: undefined, outside: [{}, () => {}, [], new Uint8Array(4)] }],
  netlinkOpen: [integer(0, -1, 2 ** 32), integer(0, -1, 2 ** 31)],
  netlinkSend: [
    fd,
    { kind: 'bytes', valid: BYTES, outside: [detached(Uint8Array)] },
    integer(400, 0, -1, 401),
  ],
  netlinkReceive: [fd, { kind: 'bytes', valid: BYTES, outside: [detached(Uint8Array), new Uint8Array(0)] }],
  udpOpen: [address, integer(0, -1, 65_536), address, integer(0, -1, 65_536), integer(0, -1, 2 ** 31)],
  icmpOpen: [address],
  loadSend: [
    {
      kind: 'int32',
      valid: Int32Array.of(CLOSED),
      outside: [
        detached(Int32Array),
        new Int32Array(0),
        Int32Array.of(-1),
        new Int32Array(LOAD.FLOWS_MAX + 1),
      ],
    },
    {
      kind: 'int32',
      valid: Int32Array.of(LOAD.HEAD_BYTES, LOAD.PAYLOAD_BYTES_MAX),
      outside: [
        detached(Int32Array),
        new Int32Array(0),
        Int32Array.of(LOAD.HEAD_BYTES - 1),
        Int32Array.of(LOAD.PAYLOAD_BYTES_MAX + 1),
        new Int32Array(65).fill(100),
      ],
    },
    { kind: 'uint32', valid: new Uint32Array(1), outside: [detached(Uint32Array), new Uint32Array(0)] },
    progressOf(SEND.CELLS),
    integer(0, -1, 2 ** 32),
    nextMoment,
  ],
  loadReceive: [
    fd,
    { kind: 'uint32', valid: new Uint32Array(LOAD.FLOW_WORDS) },
    {
      kind: 'float64',
      valid: new Float64Array(COUNT.CELLS),
      outside: [detached(Float64Array), new Float64Array(4)],
    },
    integer(0, -1, 2 ** 32),
    nextMoment,
  ],
  echoServe: [fd, integer(0, -1, 2 ** 32), nextMoment],
  roundTrips: [
    fd,
    integer(TRIP.ICMP, -1, 2),
    integer(LOAD.HEAD_BYTES, LOAD.HEAD_BYTES - 1, LOAD.PAYLOAD_BYTES_MAX + 1),
    integer(0, -1, 2 ** 32),
    progressOf(TRIP.CELLS),
    { kind: 'float64', valid: new Float64Array(1) },
    nextMoment,
  ],
  tcpListen: [address, integer(0, -1, 65_536)],
  tcpConnect: [address, integer(9, -1, 65_536), integer(1000, -1, 87, 32_768), text('no-such-control', 15)],
  streamSend: [
    {
      kind: 'int32',
      valid: Int32Array.of(CLOSED),
      outside: [detached(Int32Array), new Int32Array(0), new Int32Array(LOAD.FLOWS_MAX + 1)],
    },
    byteCount,
    nextMoment,
  ],
  streamReceive: [
    fd,
    { kind: 'int32', valid: Int32Array.of(-1), outside: [detached(Int32Array), new Int32Array(0)] },
    byteCount,
    nextMoment,
  ],
  unixDatagram: [text('/nonexistent/socket', 107), text('READY=1', 4095)],
  close: [fd],
  deviceIndex: [text('lo', 15)],
};

const native = loadNative();

function call(name: keyof Native, values: readonly unknown[]): unknown {
  return (native[name] as (...values: unknown[]) => unknown)(...values);
}

function assertRefused(name: keyof Native, values: readonly unknown[], what: string): void {
  try {
    call(name, values);
  } catch (error) {
    assert.ok(error instanceof TypeError, `${what}: ${String(error)}`);
    assert.match(String((error as NodeJS.ErrnoException).code), /^ERR_(INVALID_ARG_TYPE|OUT_OF_RANGE)$/);
    return;
  }
  assert.fail(`${what}: taken`);
}

describe('the addon', () => {
  test('has exactly the functions of its interface', () => {
    assert.deepEqual(Object.keys(native).toSorted(), Object.keys(SURFACE).toSorted());
  });

  for (const [name, parameters] of Object.entries(SURFACE) as [keyof Native, readonly Parameter[]][]) {
    if (parameters.length === 0) continue;
    test(`${name} refuses every argument of a wrong type or range with a TypeError and a code`, () => {
      const valid = parameters.map((parameter) => parameter.valid);
      for (let count = 0; count < valid.length; count++) {
        assertRefused(name, valid.slice(0, count), `${name} with ${count} arguments`);
      }
      parameters.forEach((parameter, index) => {
        const bad = [...wrongTypes(parameter.kind), ...(parameter.outside ?? [])];
        bad.forEach((value, which) => {
          assertRefused(name, valid.with(index, value), `${name}, argument ${index}, bad value ${which}`);
        });
      });
    });

    if (parameters[0]!.kind === 'fd' && name !== 'watch') {
      test(`${name} with good arguments reaches the kernel, which knows no such descriptor`, () => {
        assert.equal(
          call(
            name,
            parameters.map((parameter) => parameter.valid),
          ),
          EBADF,
        );
      });
    }
  }

  test('watch on a descriptor that is not open throws an Error with a code', () => {
    assert.throws(() => native.watch(CLOSED, () => {}), { code: 'EBADF' });
  });

  test('wait tells what it cost: one look when something is ready, several and a sleep when nothing comes', () => {
    const spent = new Int32Array(2);
    assert.equal(native.wait(Int32Array.of(CLOSED), 1, 0, 1000, spent), 1);
    assert.equal(spent[WAIT_CELL.CALLS], 1);
    assert.equal(native.wait(Int32Array.of(-1), 1, 1, 200, spent), 0);
    assert.ok(spent[WAIT_CELL.CALLS]! >= 4, `${spent[WAIT_CELL.CALLS]} calls`);
    assert.ok(spent[WAIT_CELL.MICROSECONDS]! >= 1000, `${spent[WAIT_CELL.MICROSECONDS]} us`);
    assert.equal(native.wait(new Int32Array(0), 0, 0, 0, spent), 0);
    assert.equal(spent[WAIT_CELL.CALLS], 1);
  });

  test('loads and streams over a descriptor that is not open end at once', () => {
    for (const name of ['loadSend', 'streamSend'] as const) {
      assert.equal(
        call(
          name,
          SURFACE[name].map((parameter) => parameter.valid),
        ),
        EBADF,
      );
    }
  });

  test('poll reports a descriptor that is not open, and passes over negative ones', () => {
    assert.equal(native.poll(Int32Array.of(CLOSED, -1), 2, 0), 1);
    assert.equal(native.poll(new Int32Array(0), 0, 0), 0);
  });

  test('a vnet header must lie inside the slab too', () => {
    const length = new Int32Array(1);
    const room = new Uint8Array(110);
    const slots = Int32Array.of(10, 0, 40, 10, 0, 100);
    assert.equal(native.tunReceive(CLOSED, room, length, length, slots, 1, 10), EBADF);
    for (const cell of [0, 3]) {
      assertRefused(
        'tunReceive',
        [CLOSED, room, length, length, slots.with(cell, 9), 1, 10],
        'one byte too far left',
      );
    }
    assert.equal(native.tunSend(CLOSED, room, Int32Array.of(10), length, length, 0, 1, 10), EBADF);
    assertRefused(
      'tunSend',
      [CLOSED, room, Int32Array.of(9), length, length, 0, 1, 10],
      'one byte too far left',
    );
  });

  test('the largest batch is taken, one packet more is refused', () => {
    const most = CALL_PACKETS_MAX;
    const column = (): Int32Array => new Int32Array(most + 1);
    const columns = [BYTES, column(), column()] as const;
    const slots = Int32Array.of(0, 1, 100, 0, 0, 0);
    assert.equal(native.rawReceive(CLOSED, ...columns, slots, most), EBADF);
    assertRefused('rawReceive', [CLOSED, ...columns, slots, most + 1], 'receive');
    const address = new Uint32Array(most + 1);
    assert.equal(native.rawSend(CLOSED, ...columns, column(), address, 1, most + 1), EBADF);
    assertRefused('rawSend', [CLOSED, ...columns, column(), address, 0, most + 1], 'send');
  });

  test('the most pieces of a call are taken, one more is refused', () => {
    const pieces = new Int32Array(2 + 2 * 257);
    const columns = [BYTES, Int32Array.of(0, 0), Int32Array.of(10, 10)] as const;
    const send = (...counts: number[]): readonly unknown[] => {
      pieces.set(counts);
      return [CLOSED, ...columns, pieces, new Uint32Array(2), 0, 2];
    };
    assert.equal(call('rawSend', send(156, 100)), EBADF);
    assertRefused('rawSend', send(156, 101), 'one more');
    assertRefused('rawSend', send(257, 0), 'all of one');
  });

  // Offset 0 was added to a null pointer, which C does not allow. test/fuzz/native/calls.c found it, and its corpus has it too.
  test('an empty packet may lie in an empty slab', () => {
    const zeros = [new Uint8Array(0), new Int32Array(1), new Int32Array(1), Int32Array.of(1, 0, 0)] as const;
    assert.equal(native.rawSend(CLOSED, ...zeros, new Uint32Array(1), 0, 1), EBADF);
    assert.equal(native.tunSend(CLOSED, ...zeros, 0, 1, 0), EBADF);
  });

  test('an empty batch is no system call', () => {
    const column = new Int32Array(4);
    assert.equal(native.rawReceive(CLOSED, BYTES, column, column, LAYOUT, 0), 0);
    assert.equal(native.rawSend(CLOSED, BYTES, AT, column, column, new Uint32Array(4), 2, 2), 0);
    assert.equal(native.tunReceive(CLOSED, BYTES, column, column, LAYOUT, 0, 0), 0);
  });

  test('any mixture of values is refused, or answered with a number', () => {
    const names = (Object.keys(SURFACE) as (keyof Native)[]).filter(
      (name) => SURFACE[name][0]?.kind === 'fd' && name !== 'watch',
    );
    const value = fc.oneof(
      fc.constantFrom<unknown>(BYTES, AT, new Int32Array(4), new Uint32Array(4), 0, 1, 4, 64, 100, 255, 256),
      fc.anything({ withTypedArray: true, withBigInt: true }),
      fc.int32Array(),
      fc.uint8Array(),
      fc.integer(),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...names),
        fc.array(value, { minLength: 5, maxLength: 8 }),
        (name, rest) => {
          try {
            assert.equal(typeof call(name, [CLOSED, ...rest]), 'number');
          } catch (error) {
            assert.ok(error instanceof TypeError);
          }
        },
      ),
      { seed: SEED, numRuns: 5000 },
    );
  });
});
