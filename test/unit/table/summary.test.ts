import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatCidr, parseAddress, parseCidr } from '../../../src/base/address.ts';
import type { Claim } from '../../../src/table/claim.ts';
import { Table } from '../../../src/table/table.ts';

function claim(cluster: string, cidr: string, gateways: string[]): Claim {
  const id = `${cluster}:${cidr}`;
  return {
    id,
    cluster,
    cidr: parseCidr(cidr),
    gateways: gateways.map((text) => ({ address: parseAddress(text), weight: 1 })),
  };
}

test('counts routes, stale routes and distinct gateways of each cluster, as the routes themselves show them', () => {
  const table = new Table();
  for (const source of ['a', 'b'])
    table.addSource(source, { priority: 0, staleAfterMs: Number.POSITIVE_INFINITY, holdMs: 0 });
  table.apply(
    'a',
    {
      kind: 'replace',
      claims: [
        claim('west', '10.2.0.0/16', ['172.31.2.2', '172.31.2.3']),
        claim('west', '10.3.0.0/16', ['172.31.2.3', '172.31.2.4']),
        claim('north', '10.4.0.0/16', ['172.31.4.2']),
      ],
    },
    0,
    0,
  );
  table.apply('b', { kind: 'replace', claims: [claim('north', '10.5.0.0/16', ['172.31.4.2'])] }, 0, 0);
  table.apply('b', { kind: 'stale', reason: 'gone' }, 1, 1);
  const [west, north, ...others] = table.clusters();
  assert.deepEqual(others, []);
  assert.deepEqual([west?.name, west?.routes, west?.staleRoutes, west?.gateways.size], ['west', 2, 0, 3]);
  assert.deepEqual(
    [north?.name, north?.routes, north?.staleRoutes, north?.gateways.size],
    ['north', 2, 1, 1],
  );
});

test('what is forwarded is what the routes say, without their origins', () => {
  const table = new Table();
  table.addSource('a', { priority: 0, staleAfterMs: Number.POSITIVE_INFINITY, holdMs: 0 });
  table.apply('a', { kind: 'replace', claims: [claim('west', '10.2.0.0/16', ['172.31.2.2'])] }, 0, 0);
  const [route] = table.forwarded();
  assert.deepEqual(Object.keys(route!), ['cidr', 'cluster', 'gateways']);
  assert.equal(formatCidr(route!.cidr), '10.2.0.0/16');
});
