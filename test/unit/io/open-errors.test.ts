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

  test('an address of another host is named, and the socket is closed', () => {
    const closed: number[] = [];
    const native = nativeThat({
      rawOpen: () => 9,
      rawBind: () => -99,
      close: (fd) => closed.push(fd),
    });
    const error = thrownBy(() => openRawIp(native, { address: 0x0a00_0001 }));
    assert.match(error.message, /bind 10\.0\.0\.1: EADDRNOTAVAIL; underlay\.address/);
    assert.deepEqual(closed, [9]);
  });

  test('with several workers nothing that came before the filter is received', () => {
    const calls: string[] = [];
    let before = 300;
    const native = nativeThat({
      rawOpen: () => 9,
      rawFilter: (_fd, program) => calls.push(program.length === 2 ? 'reject' : 'share') * 0,
      rawReceive: (_fd, _bytes, _at, _length, capacity) => {
        const taken = Math.min(before, capacity);
        before -= taken;
        calls.push(`drain ${taken}`);
        return taken;
      },
      rawBind: () => calls.push('bind') * 0,
      rawOverflow: () => 0,
    });
    openRawIp(native, { address: 1, worker: { index: 1, count: 2 } });
    assert.deepEqual(calls, ['reject', 'drain 256', 'drain 44', 'drain 0', 'share', 'bind']);
  });

  test('counts as overflow only what was dropped since it took the socket over, across the wrap of the counter', () => {
    let total = 0xffff_fffe;
    const io = openRawIp(nativeThat({ rawOpen: () => 9, rawBind: () => 0, rawOverflow: () => total }), {
      address: 1,
    });
    assert.equal(io.takeOverflow(), 0);
    total = 3;
    assert.equal(io.takeOverflow(), 5);
    total = -92;
    assert.equal(io.takeOverflow(), 0);
  });
});
