import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errnoName, NEGATED } from '../../../src/io/errno.ts';
import { errnoOfText } from '../../../src/io/raw-socket-package.ts';

test('names an errno, negated or not, and gives the number of one without a name', () => {
  assert.equal(errnoName(1), 'EPERM');
  assert.equal(errnoName(-1), 'EPERM');
  assert.equal(errnoName(-105), 'ENOBUFS');
  assert.equal(errnoName(-77), 'EBADFD');
  assert.equal(errnoName(-100), 'ENETDOWN');
  assert.equal(errnoName(-4095), 'errno 4095');
});

test('reads the texts that the package raw-socket reports failures with', () => {
  assert.equal(errnoOfText('Resource temporarily unavailable'), 0);
  assert.equal(errnoOfText('Message too long'), NEGATED.EMSGSIZE);
  assert.equal(errnoOfText('Network is unreachable'), NEGATED.ENETUNREACH);
  assert.equal(errnoOfText('something new'), NEGATED.EIO);
});
