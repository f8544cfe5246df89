import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  type ClusterReport,
  forgottenRow,
  type GatewayRow,
  ROW_FORGOTTEN_MS,
  ROW_FRESH_MS,
  rowOf,
  sharedStatusOf,
  speakerOf,
} from '../../../../src/watch/kubernetes/cluster-status.ts';

const NOW_MS = Date.parse('2026-04-17T12:00:00Z');

const report = (changes: Partial<ClusterReport> = {}): ClusterReport => ({
  routes: 12,
  gateways: 3,
  stale: false,
  reason: undefined,
  lastContactMs: NOW_MS - 1000,
  ...changes,
});

const row = (name: string, ageMs: number | undefined): GatewayRow => ({
  name,
  ready: true,
  routes: 1,
  ...(ageMs !== undefined && { lastContactTime: new Date(NOW_MS - ageMs).toISOString() }),
});

const READ = { access: { secretRef: { namespace: 'isthmus-system', name: 'west-access' } } };
const STATIC = { cidrs: ['10.2.0.0/16'], gateways: [{ address: '172.31.0.2' }] };

const object = (spec: object, conditions: object[] = []) => ({
  metadata: { name: 'west', generation: 7 },
  spec,
  status: { conditions },
});

describe("a gateway's row", () => {
  it('says how many routes there are and when the cluster was last heard', () => {
    assert.deepEqual(rowOf('gw-1', report(), NOW_MS), {
      name: 'gw-1',
      ready: true,
      routes: 12,
      lastContactTime: '2026-04-17T11:59:59Z',
    });
    assert.deepEqual(
      rowOf(
        'gw-1',
        report({ routes: 0, stale: true, reason: 'x'.repeat(2000), lastContactMs: null }),
        NOW_MS,
      ),
      {
        name: 'gw-1',
        ready: false,
        routes: 0,
        message: 'x'.repeat(1024),
      },
    );
  });

  it('of a cluster that is not read has the time at which it was written', () => {
    assert.equal(
      rowOf('gw-1', report({ lastContactMs: null }), NOW_MS).lastContactTime,
      '2026-04-17T12:00:00Z',
    );
  });
});

describe('the gateway that speaks for all', () => {
  it('is the first by name of those that heard of the cluster lately, as the others see it', () => {
    assert.equal(speakerOf([row('b', 0), row('a', ROW_FRESH_MS), row('c', 0)]), 'a');
    assert.equal(speakerOf([row('b', 0), row('a', ROW_FRESH_MS + 1000), row('c', 0)]), 'b');
    assert.equal(speakerOf([row('b', 9_000_000), row('a', 9_100_000)]), 'a', 'nobody can reach it');
    assert.equal(speakerOf([row('b', undefined), row('a', undefined)]), 'a', 'nobody ever reached it');
    assert.equal(speakerOf([row('b', 0), row('a', undefined)]), 'b');
  });

  it('takes out one row that is long gone at a time', () => {
    const rows = [
      row('a', 0),
      row('b', ROW_FORGOTTEN_MS),
      row('c', ROW_FORGOTTEN_MS + 1000),
      row('d', undefined),
    ];
    assert.deepEqual(forgottenRow(rows), { index: 2, name: 'c' });
    assert.equal(forgottenRow(rows.slice(0, 2)), undefined);
  });
});

describe('what is said for all', () => {
  const verdicts = (spec: object, told: ClusterReport) =>
    sharedStatusOf(object(spec), told, NOW_MS).conditions.map(
      ({ type, status, reason }) => `${type} ${status} ${reason}`,
    );

  it('are three conditions', () => {
    assert.deepEqual(verdicts(READ, report()), [
      'Accepted True Valid',
      'Reachable True Watching',
      'Ready True RoutesInForce',
    ]);
    assert.deepEqual(verdicts(READ, report({ stale: true, reason: 'refused' })), [
      'Accepted True Valid',
      'Reachable False Stale',
      'Ready True RoutesInForce',
    ]);
    assert.deepEqual(verdicts(READ, report({ routes: 0, gateways: 0, lastContactMs: null })), [
      'Accepted True Valid',
      'Reachable False NeverReached',
      'Ready False NoRoutes',
    ]);
    assert.deepEqual(verdicts(STATIC, report({ lastContactMs: null })), [
      'Accepted True Valid',
      'Reachable Unknown NotRead',
      'Ready True RoutesInForce',
    ]);
    assert.deepEqual(verdicts({}, report({ gateways: 0 })), [
      'Accepted False Malformed',
      'Reachable True Watching',
      'Ready False NoGateways',
    ]);
  });

  it('keeps the time of the last transition while a condition is as it was', () => {
    const since = '2026-01-01T00:00:00Z';
    const before = [
      { type: 'Ready', status: 'True', lastTransitionTime: since },
      { type: 'Reachable', status: 'False', lastTransitionTime: since },
    ];
    const { conditions, observedGeneration } = sharedStatusOf(object(READ, before), report(), NOW_MS);
    assert.equal(observedGeneration, 7);
    assert.deepEqual(
      conditions.map(({ type, lastTransitionTime }) => [type, lastTransitionTime]),
      [
        ['Accepted', '2026-04-17T12:00:00Z'],
        ['Reachable', '2026-04-17T12:00:00Z'],
        ['Ready', since],
      ],
    );
  });

  it('never has an empty text, which old API servers turn into null', () => {
    for (const told of [report(), report({ stale: true, reason: '' }), report({ routes: 0, gateways: 0 })])
      for (const { message } of sharedStatusOf(object(READ), told, NOW_MS).conditions)
        assert.notEqual(message, '');
  });
});
