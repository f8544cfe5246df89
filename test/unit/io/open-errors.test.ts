import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { GatewayError, IoError } from '../../../src/base/errors.ts';
import type { Native } from '../../../src/io/native.ts';
import { openRawIp } from '../../../src/io/raw-ip.ts';
import { openTun } from '../../../src/io/tun.ts';

/** An addon in which the given calls answer as told; any other call fails the test. */
function nativeThat(answers: Partial<Native>): Native {
  return answers as Native;
}

function thrownBy(action: () => unknown): GatewayError {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof GatewayError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: 'nothing was thrown' });
}

describe('opening a TUN device', () => {
  const cases: readonly [number, string, RegExp][] = [
    [-1, 'ISTHMUS_ERR_PRIVILEGE', /t0.*EPERM.*CAP_NET_ADMIN.*AmbientCapabilities.*securityContext.*setcap/],
    [-13, 'ISTHMUS_ERR_PRIVILEGE', /EACCES.*may not read and write \/dev\/net\/tun/],
    [-2, 'ISTHMUS_ERR_KERNEL', /\/dev\/net\/tun is missing.*modprobe tun/],
    [-16, 'ISTHMUS_ERR_IO', /t0: EBUSY; another process/],
    [-22, 'ISTHMUS_ERR_IO', /EINVAL; a device of that name/],
    [-7, 'ISTHMUS_ERR_IO', /E2BIG.*tunnel\.workers/],
    [-24, 'ISTHMUS_ERR_IO', /tunOpen t0: EMFILE/],
  ];
  for (const [result, code, message] of cases) {
    test(`errno ${-result} becomes ${code} with advice`, () => {
      const error = thrownBy(() => openTun(nativeThat({ tunOpen: () => result }), { name: 't0' }));
      assert.equal(error.code, code);
      assert.match(error.message, message);
    });
  }

  for (const name of ['', 'a b', 'sixteen-bytes-xx', 'tun%d', 'a/b', '..', 'äääääääää']) {
    test(`refuses the device name "${name}" before the kernel sees it`, () => {
      const error = thrownBy(() => openTun(nativeThat({}), { name }));
      assert.ok(error instanceof IoError);
      assert.match(error.message, /device name has 1 to 15 bytes/);
    });
  }
});

describe('opening the underlay socket', () => {
  test('a missing CAP_NET_RAW is named with how to grant it', () => {
    const error = thrownBy(() => openRawIp(nativeThat({ rawOpen: () => -1 }), { address: 0 }));
    assert.equal(error.code, 'ISTHMUS_ERR_PRIVILEGE');
    assert.match(error.message, /CAP_NET_RAW.*AmbientCapabilities/);
  });

  test('the address of another host is no failure: the way is then picked by the destination alone', () => {
    const bound: number[] = [];
    const native = nativeThat({
      rawOpen: () => 9,
      rawFilter: () => 0,
      rawReceive: () => 0,
      rawBind: (_fd, address) => {
        bound.push(address);
        return address === 0 ? 0 : -99;
      },
      rawOverflow: () => 0,
    });
    const socket = openRawIp(native, { address: 0x0a00_0001 });
    assert.deepEqual(bound, [0x0a00_0001, 0]);
    assert.equal(socket.setAddresses(0x0a00_0001, [0x0a00_0001]), false);
  });

  test('a filter that the kernel refuses is named, and both descriptors are closed', () => {
    const closed: number[] = [];
    let opened = 8;
    const native = nativeThat({
      rawOpen: () => ++opened,
      rawFilter: () => -22,
      rawOverflow: () => 0,
      close: (fd) => closed.push(fd),
    });
    const error = thrownBy(() => openRawIp(native, { address: 1 }));
    assert.match(error.message, /SO_ATTACH_FILTER underlay socket: EINVAL/);
    assert.deepEqual(closed, [9, 10]);
  });

  test('when the sending descriptor cannot be opened the receiving one is closed', () => {
    const closed: number[] = [];
    const native = nativeThat({
      rawOpen: (protocol) => (protocol === 4 ? 9 : -24),
      close: (fd) => closed.push(fd),
    });
    assert.match(thrownBy(() => openRawIp(native, { address: 1 })).message, /EMFILE/);
    assert.deepEqual(closed, [9]);
  });

  test('nothing that came before the filter is received, and another address changes the filter in one step', () => {
    const calls: string[] = [];
    let before = 300;
    const native = nativeThat({
      rawOpen: (protocol) => (protocol === 4 ? 9 : 10),
      rawFilter: (fd, program) => calls.push(`${program.length === 2 ? 'reject' : 'share'} ${fd}`) * 0,
      rawReceive: (_fd, _bytes, _at, _length, _layout, capacity) => {
        const taken = Math.min(before, capacity);
        before -= taken;
        calls.push(`drain ${taken}`);
        return taken;
      },
      rawBind: (fd, address) => calls.push(`bind ${fd} ${address}`) * 0,
      rawOverflow: () => 0,
    });
    const socket = openRawIp(native, { address: 1, worker: { index: 1, count: 2 } });
    assert.deepEqual(calls, ['reject 9', 'drain 256', 'drain 44', 'drain 0', 'share 9', 'bind 10 1']);
    calls.length = 0;
    assert.equal(socket.setAddresses(2, [2, 1]), true);
    assert.deepEqual(calls, ['share 9', 'bind 10 2']);
    assert.deepEqual([socket.fd, socket.sendFd], [9, 10]);
  });

  test('counts as overflow only what was dropped since it took the socket over, across the wrap of the counter', () => {
    let total = 0xffff_fffe;
    const calls = { rawOpen: () => 9, rawBind: () => 0, rawFilter: () => 0, rawReceive: () => 0 };
    const io = openRawIp(nativeThat({ ...calls, rawOverflow: () => total }), { address: 1 });
    assert.equal(io.takeOverflow(), 0);
    total = 3;
    assert.equal(io.takeOverflow(), 5);
    total = -92;
    assert.equal(io.takeOverflow(), 0);
  });
});
