import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ClusterFacts, clusterDetails } from '../../../src/admin/cluster-details.ts';
import { ClusterNotes } from '../../../src/watch/cluster-notes.ts';
import { StreamRegistry } from '../../../src/watch/stream-state.ts';

const NOTHING: ClusterFacts = {
  configured: [],
  rows: [],
  sourcesOf: new Map(),
  sources: [],
  streams: [],
  notes: new ClusterNotes(),
};

const ROW = { name: 'west', routes: 2, gateways: 2, gatewaysAlive: 2, stale: false };

test('a cluster is listed as soon as the configuration, a route or a note names it, sorted by name', () => {
  const notes = new ClusterNotes();
  notes.set('north', { origin: 'RemoteCluster/north', dns: null, server: 'https://n:6443', problems: [] });
  const details = clusterDetails({ ...NOTHING, configured: ['west', 'south'], rows: [ROW], notes });
  assert.deepEqual(
    details.map(({ name, state, origin, server }) => [name, state, origin, server]),
    [
      ['north', 'no-routes', 'RemoteCluster/north', 'https://n:6443'],
      ['south', 'no-routes', 'configuration', null],
      ['west', 'fresh', 'configuration', null],
    ],
  );
});

test('a cluster without a gateway in use is unreachable, and one with a stale route is stale', () => {
  const states = (row: typeof ROW) => clusterDetails({ ...NOTHING, rows: [row] }).map(({ state }) => state);
  assert.deepEqual(states({ ...ROW, gatewaysAlive: 0, stale: true }), ['unreachable']);
  assert.deepEqual(states({ ...ROW, stale: true }), ['stale']);
});

test('the last word is the latest of the sources and list-watches of the cluster, and of no others', () => {
  const registry = new StreamRegistry();
  registry.open('kubernetes:west', 'nodes').lastEventMs = 5000;
  registry.open('kubernetes:north', 'nodes').lastEventMs = 9000;
  const [west] = clusterDetails({
    ...NOTHING,
    rows: [ROW],
    sourcesOf: new Map([['west', new Set(['kubernetes:west'])]]),
    sources: [{ name: 'kubernetes:west', state: 'fresh', claims: 2, refused: 0, lastUpdateMs: 1000 }],
    streams: registry.list(),
  });
  assert.equal(west?.lastUpdateAt, '1970-01-01T00:00:05.000Z');
});

test('problems are those of the note, the sources and the list-watches, each once and at most twenty', () => {
  const registry = new StreamRegistry();
  registry.open('kubernetes:west', 'nodes').problem = 'connection refused';
  const notes = new ClusterNotes();
  const many = Array.from({ length: 30 }, (_, i) => `problem ${i}`);
  notes.set('west', { origin: 'RemoteCluster/west', dns: null, server: null, problems: ['bad', 'bad'] });
  const source = { name: 'kubernetes:west', claims: 2, refused: 0, state: 'stale' as const, reason: 'away' };
  const facts = {
    ...NOTHING,
    rows: [ROW],
    notes,
    sourcesOf: new Map([['west', new Set(['kubernetes:west'])]]),
    sources: [{ ...source, held: { claims: 12, untilMs: 1 } }],
    streams: registry.list(),
  };
  assert.deepEqual(clusterDetails(facts)[0]?.problems, [
    'bad',
    'source kubernetes:west is stale: away',
    'source kubernetes:west withdrew 12 claims at once; they are held',
    'kubernetes:west, nodes: connection refused',
  ]);
  notes.set('west', { origin: 'RemoteCluster/west', dns: null, server: null, problems: many });
  assert.equal(clusterDetails(facts)[0]?.problems.length, 20);
});

test('the source that reads a cluster says what is wrong before the first route', () => {
  const notes = new ClusterNotes();
  notes.set('west', { origin: 'RemoteCluster/west', dns: null, server: null, problems: [] });
  const source = { claims: 0, refused: 0, state: 'stale' as const, reason: '403 Forbidden' };
  const [west] = clusterDetails({
    ...NOTHING,
    notes,
    sources: [
      { ...source, name: 'kubernetes:local/west' },
      { ...source, name: 'kubernetes:north' },
    ],
  });
  assert.deepEqual(west?.sources, ['kubernetes:local/west']);
  assert.deepEqual(west?.problems, ['source kubernetes:local/west is stale: 403 Forbidden']);
});
