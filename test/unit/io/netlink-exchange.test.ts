import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { IoError } from '../../../src/base/errors.ts';
import { Netlink } from '../../../src/io/netlink.ts';
import type { RouteRow } from '../../../src/io/netlink-route.ts';
import { acknowledgement, done, message, type SentMessage, scriptedKernel } from './kernel-script.ts';

function rows(count: number): RouteRow[] {
  return Array.from({ length: count }, (_, index) => ({
    cidr: { address: (0x0a00_0000 + index * 256) >>> 0, prefixLength: 24 },
    deviceIndex: 2,
    table: 254,
    metric: 0,
    protocol: 73,
  }));
}

function loopback(sequence: number, flags: number): Uint8Array {
  return message(16, flags, sequence, 16, (writer, fixed) => {
    writer.u32(fixed + 4, 1);
    writer.attributeText(3, 'lo');
  });
}

describe('exchanges with the kernel', () => {
  test('routes go out 128 a datagram, and failures name their row, errno and the words of the kernel', () => {
    const { native, sends } = scriptedKernel((sent) =>
      sent.map(({ sequence, bytes }) => {
        // RTA_DST is the first attribute: header 16, rtmsg 12, attribute header 4, then the address; its third byte counts the rows.
        const isTaken = bytes[16 + 12 + 4 + 2] === 129;
        return isTaken ? acknowledgement(sequence, 17, 'it exists') : acknowledgement(sequence);
      }),
    );
    const failures = new Netlink(native).addRoutes(rows(300));
    assert.deepEqual(
      sends.map((sent) => sent.length),
      [128, 128, 44],
    );
    assert.deepEqual(failures, [
      { index: 129, errno: 'EEXIST', message: 'add route 10.0.129.0/24: EEXIST; it exists' },
    ]);
  });

  test('no rows, no system call', () => {
    const { native, sends } = scriptedKernel(() => []);
    assert.deepEqual(new Netlink(native).removeRoutes([]), []);
    assert.deepEqual(sends, []);
  });

  test('answers to a request that was given up are not taken for those of the next one', () => {
    let late: Uint8Array | undefined;
    const { native } = scriptedKernel(([sent]) => {
      const { sequence } = sent as SentMessage;
      if (late === undefined) {
        late = acknowledgement(sequence, 1, 'late');
        return [];
      }
      return [late, acknowledgement(sequence)];
    });
    const netlink = new Netlink(native);
    assert.throws(() => netlink.deleteLink(3), /link 3: ETIMEDOUT; the kernel did not answer/);
    assert.equal(netlink.deleteLink(3), undefined);
  });

  test('a dump that changed while it was read is read again', () => {
    let attempt = 0;
    const { native } = scriptedKernel(([sent]) => {
      const { sequence } = sent as SentMessage;
      attempt++;
      if (attempt < 3) return [loopback(sequence, 2 | 0x10), loopback(sequence, 2), done(sequence)];
      return [loopback(sequence, 2), done(sequence)];
    });
    assert.deepEqual(
      new Netlink(native).links().map((link) => link.name),
      ['lo'],
    );
    assert.equal(attempt, 3);
  });

  test('a table that changes all the time is an error, not an endless loop', () => {
    let attempts = 0;
    const { native } = scriptedKernel(([sent]) => {
      attempts++;
      return [done((sent as SentMessage).sequence, 2 | 0x10)];
    });
    assert.throws(
      () => new Netlink(native).routes(),
      /RTM_GETROUTE routes: EINTR; changed during each of 10 attempts/,
    );
    assert.equal(attempts, 10);
  });

  test('a table that never held a route is empty, any other failure of a dump is told', () => {
    const answering = (errno: number) =>
      new Netlink(
        scriptedKernel(([sent]) => [acknowledgement((sent as SentMessage).sequence, errno)]).native,
      );
    assert.deepEqual(answering(2).routes({ table: 4711 }), []);
    assert.throws(() => answering(2).routes(), IoError);
    assert.throws(() => answering(12).routes({ table: 4711 }), /ENOMEM/);
  });

  test('no route to an address is undefined, not an error', () => {
    for (const errno of [101, 113, 13, 22]) {
      const { native } = scriptedKernel(([sent]) => [acknowledgement((sent as SentMessage).sequence, errno)]);
      assert.equal(new Netlink(native).routeTo(0x0a00_0001), undefined);
    }
  });

  test('lost acknowledgements are an error: what the kernel did is not known', () => {
    const { native } = scriptedKernel(() => [-105]);
    assert.throws(() => new Netlink(native).addRoutes(rows(3)), /recvmsg routes: ENOBUFS/);
  });

  test('after close, every call says so', () => {
    const netlink = new Netlink(scriptedKernel(() => []).native);
    netlink.close();
    netlink.close();
    assert.throws(() => netlink.links(), /EBADF; the netlink socket is closed/);
  });

  test('a socket that cannot be opened is an error with its errno', () => {
    const { native } = scriptedKernel(() => []);
    assert.throws(() => new Netlink({ ...native, netlinkOpen: () => -97 }), /socket netlink: EAFNOSUPPORT/);
  });
});
