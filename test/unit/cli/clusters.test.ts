import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatClusters } from '../../../src/cli/clusters.ts';
import { CLUSTERS } from '../admin/fake-view.ts';
import { piped, screen } from './fake-terminal.ts';

const NOW = Date.parse('2026-01-02T05:04:05.000Z');

test('clusters in a pipe are one line each, with plain times and every problem', () => {
  const lines = formatClusters(piped(), CLUSTERS, NOW).trimEnd().split('\n');
  assert.deepEqual(lines, [
    'CLUSTER  STATE      ROUTES  IN-USE  LAST-WORD                 SOURCES                      PROBLEMS',
    'north    no-routes       0     0/0  never                     RemoteCluster/north          GET /api/v1/nodes at https://10.9.0.1:6443: 403 Forbidden',
    'west     stale          12     1/2  2026-01-02T03:05:00.000Z  file:/etc/isthmus/west.yaml  source file:/etc/isthmus/west.yaml is stale: no such file',
  ]);
});

test('clusters on a screen have an age, and states in colours', () => {
  const shown = formatClusters(screen(200, true), CLUSTERS, NOW);
  assert.match(shown, /1h 59m ago/);
  assert.ok(shown.includes('\u001b[31mno-routes\u001b[39m'));
  assert.ok(shown.includes('\u001b[33mstale    \u001b[39m'));
});

test('a screen is told that nobody is joined, a pipe gets the header alone', () => {
  assert.equal(formatClusters(screen(), [], NOW), 'no cluster is joined\n');
  assert.match(formatClusters(piped(), [], NOW), /^CLUSTER {2}STATE .*\n$/);
});
