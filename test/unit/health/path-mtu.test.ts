import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { PATH_MTU_BYTES_MIN, PATH_MTU_EXPIRY_MS, PathMtuTable } from '../../../src/health/path-mtu.ts';

const PEER = parseAddress('172.31.2.2');

test('a smaller path MTU is learned, told once, and forgotten after ten minutes', () => {
  const table = new PathMtuTable();
  assert.deepEqual(table.report(PEER, 1400, 1500, 0), { peer: PEER, pathMtuBytes: 1400 });
  assert.equal(table.report(PEER, 1400, 1500, 1000), undefined);
  assert.equal(table.source(PEER), 'icmp');
  assert.deepEqual(table.expire(1000 + PATH_MTU_EXPIRY_MS - 1), []);
  assert.deepEqual(table.expire(1000 + PATH_MTU_EXPIRY_MS), [{ peer: PEER, pathMtuBytes: 0 }]);
  assert.equal(table.source(PEER), undefined);
});

test('a report below 596 bytes is an attack and is ignored; 596 itself is not', () => {
  const table = new PathMtuTable();
  assert.equal(table.report(PEER, PATH_MTU_BYTES_MIN - 1, 1500, 0), undefined);
  assert.equal(table.ignored, 1);
  assert.deepEqual(table.report(PEER, PATH_MTU_BYTES_MIN, 1500, 0), {
    peer: PEER,
    pathMtuBytes: PATH_MTU_BYTES_MIN,
  });
});

test('a report that asks for no less than what was sent, or for more than is known, is ignored', () => {
  const table = new PathMtuTable();
  assert.equal(table.report(PEER, 1500, 1500, 0), undefined);
  table.report(PEER, 1300, 1500, 0);
  assert.equal(table.report(PEER, 1400, 1500, 1), undefined, 'a late report must not raise the value again');
  assert.equal(table.ignored, 2);
});

test('a router that names no value leads to the next plateau below what was sent (RFC 1191 §7.1)', () => {
  const table = new PathMtuTable();
  assert.equal(table.report(PEER, 0, 1500, 0)?.pathMtuBytes, 1492);
  assert.equal(table.report(PEER, 0, 1492, 1)?.pathMtuBytes, 1006);
  assert.equal(table.report(PEER, 0, 1006, 2)?.pathMtuBytes, PATH_MTU_BYTES_MIN);
  assert.equal(table.report(PEER, 0, PATH_MTU_BYTES_MIN, 3), undefined);
});

test('what is learned can be told again for a gateway that comes back, until it expires', () => {
  const table = new PathMtuTable();
  table.report(PEER, 1400, 1500, 0);
  assert.deepEqual([...table.learned()], [{ peer: PEER, pathMtuBytes: 1400 }]);
  table.expire(PATH_MTU_EXPIRY_MS);
  assert.deepEqual([...table.learned()], []);
});
