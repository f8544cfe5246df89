import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import fc from 'fast-check';
import type { Gateway } from '../../../src/table/claim.ts';
import {
  GatewayPool,
  type Labels,
  parseSelector,
  REQUIREMENTS_MAX,
  rankOf,
} from '../../../src/watch/gateway-selection.ts';

const SEED = 20_260_417;

function matches(selector: string, labels: Labels | undefined): boolean {
  const matcher = parseSelector(selector);
  if (typeof matcher === 'string') throw new Error(matcher);
  return matcher(labels);
}

test('a selector matches the labels that kubectl -l would', () => {
  const edge = { role: 'edge', 'example.com/zone': 'a', empty: '' };
  const yes = [
    'role=edge',
    'role==edge',
    'role',
    '!spot',
    'role!=core',
    'spot!=true',
    'empty=',
    'example.com/zone=a',
    'role=edge , example.com/zone!=b,!spot',
    'constructor!=x',
    '!constructor',
  ];
  const no = [
    'role=core',
    '!role',
    'role!=edge',
    'spot',
    'spot=true',
    'role=edge,spot',
    'constructor',
    'empty!=',
  ];
  for (const selector of yes) assert.equal(matches(selector, edge), true, selector);
  for (const selector of no) assert.equal(matches(selector, edge), false, selector);
  assert.equal(matches('role', undefined), false);
  assert.equal(matches('!role', undefined), true);
});

test('a selector that is wrong is told with the part that is', () => {
  const wrong: Record<string, RegExp> = {
    '': /"" is not the key/,
    'a=b,': /"" is not the key/,
    '=b': /"" is not the key/,
    '!a=b': /"!a=b" is none of/,
    'a b': /"a b" is none of/,
    'a=b c': /"b c" is not the value/,
    'a=-b': /"-b" is not the value/,
    '-a': /"-a" is not the key/,
    'UPPER.com/a': /"UPPER.com\/a" is not the key/,
    'a in (b,c)': /sets .* are not understood/,
  };
  for (const [selector, message] of Object.entries(wrong)) {
    const told = parseSelector(selector);
    assert.ok(typeof told === 'string', selector);
    assert.match(told, message);
  }
});

test('a selector may have as many requirements as the limit, and not one more', () => {
  const parts = Array.from({ length: REQUIREMENTS_MAX }, (_, i) => `k${i}`);
  assert.equal(typeof parseSelector(parts.join()), 'function');
  assert.match(String(parseSelector([...parts, 'more'].join())), /65 requirements are more than 64/);
});

const gateway = (address: number, weight = 1): Gateway => ({ address, weight });

describe('a pool of gateways', () => {
  it('has as many as its limit, and one more candidate changes at most one place', () => {
    const pool = new GatewayPool(8);
    for (let i = 0; i < 100; i++) {
      const before = new Set(pool.chosen().map(({ address }) => address));
      pool.set(`node-${i}`, gateway(i));
      const after = pool.chosen();
      assert.equal(after.length, Math.min(i + 1, 8));
      assert.ok(after.filter(({ address }) => !before.has(address)).length <= 1);
    }
  });

  it('is the same array as long as nothing of it changes', () => {
    const pool = new GatewayPool(2);
    for (const name of ['a', 'b', 'c', 'd']) pool.set(name, gateway(name.charCodeAt(0)));
    const chosen = pool.chosen();
    const left = ['a', 'b', 'c', 'd'].filter((name) =>
      chosen.every(({ address }) => address !== name.charCodeAt(0)),
    );
    for (const name of left) pool.set(name, gateway(name.charCodeAt(0), 5));
    for (const name of left) pool.delete(name);
    pool.set('a', gateway(97));
    pool.delete('nobody');
    assert.equal(pool.chosen(), chosen);
  });

  it('takes what is not ready only where nothing is', () => {
    const pool = new GatewayPool();
    pool.set('a', gateway(1), false);
    pool.set('b', gateway(2), false);
    assert.equal(pool.chosen().length, 2);
    pool.set('b', gateway(2), true);
    assert.deepEqual(pool.chosen(), [gateway(2)]);
    pool.delete('b');
    assert.deepEqual(pool.chosen(), [gateway(1)]);
  });

  it('is what sorting all candidates anew would give, after any sequence of changes', () => {
    const change = fc.record({
      name: fc.integer({ min: 0, max: 15 }).map((i) => `node-${i}`),
      address: fc.integer({ min: 1, max: 9 }),
      ready: fc.boolean(),
      gone: fc.boolean(),
      look: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 60 }), fc.integer({ min: 1, max: 6 }), (changes, max) => {
        const pool = new GatewayPool(max);
        const model = new Map<string, { address: number; ready: boolean }>();
        for (const { name, address, ready, gone, look } of changes) {
          if (gone) {
            pool.delete(name);
            model.delete(name);
          } else {
            pool.set(name, gateway(address), ready);
            model.set(name, { address, ready });
          }
          if (look) assert.deepEqual(pool.chosen(), sorted(model, max));
        }
        assert.deepEqual(pool.chosen(), sorted(model, max));
      }),
      { seed: SEED, numRuns: 300 },
    );
  });
});

function sorted(model: ReadonlyMap<string, { address: number; ready: boolean }>, max: number): Gateway[] {
  const anyReady = [...model.values()].some(({ ready }) => ready);
  const names = [...model.keys()].filter((name) => !anyReady || model.get(name)?.ready === true);
  names.sort((a, b) => rankOf(a) - rankOf(b));
  const addresses = new Set(names.map((name) => model.get(name)?.address ?? 0));
  return [...addresses].slice(0, max).map((address) => gateway(address));
}
