import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { formatAddress, parseAddress, parseCidr } from '../../../src/base/address.ts';
import type { Claim } from '../../../src/table/claim.ts';
import type { TableSettings } from '../../../src/table/refusal.ts';
import { Table } from '../../../src/table/table.ts';
import { claim, options, SETTINGS } from './fixtures.ts';

const SEED = Number(process.env.ISTHMUS_TEST_SEED ?? 2003);
const GRACE_MS = 1000;
const PATIENT: TableSettings = { ...SETTINGS, gatewayGraceMs: GRACE_MS };
const CIDR = '10.2.0.0/16';

function patientTable(settings = PATIENT, limits = {}): Table {
  const table = new Table(settings, limits);
  for (const name of ['a', 'b']) table.addSource(name, options({ holdMs: 0 }));
  return table;
}

/** What the route to `cidr` has, as `172.31.0.2*1`. */
function gatewaysOf(table: Table, cidr = CIDR): string[] {
  const gateways = table.route(parseCidr(cidr))?.gateways ?? [];
  return gateways.map(({ address, weight }) => `${formatAddress(address)}*${weight}`);
}

function say(table: Table, nowMs: number, ...claims: Claim[]): void {
  table.apply('a', { kind: 'replace', claims }, nowMs, nowMs);
}

describe('a gateway that leaves a route', () => {
  it('stays with weight 0 until its time is over', () => {
    const table = patientTable();
    say(table, 0, claim('west', CIDR, '172.31.0.2 172.31.0.3'));
    assert.equal(table.nextDeadlineMs(), undefined);
    say(table, 100, claim('west', CIDR, '172.31.0.3 172.31.0.4'));
    assert.deepEqual(gatewaysOf(table), ['172.31.0.2*0', '172.31.0.3*1', '172.31.0.4*1']);
    assert.equal(table.nextDeadlineMs(), 100 + GRACE_MS);
    table.takeChanges();
    table.tick(99 + GRACE_MS, 0);
    assert.equal(table.takeChanges().set.length, 0);
    table.tick(100 + GRACE_MS, 0);
    assert.deepEqual(gatewaysOf(table), ['172.31.0.3*1', '172.31.0.4*1']);
    assert.equal(table.takeChanges().set.length, 1);
    assert.equal(table.nextDeadlineMs(), undefined);
  });

  it('keeps its own time when others leave after it', () => {
    const table = patientTable();
    say(table, 0, claim('west', CIDR, '172.31.0.2'));
    say(table, 100, claim('west', CIDR, '172.31.0.3'));
    say(table, 200, claim('west', CIDR, '172.31.0.4'));
    assert.deepEqual(gatewaysOf(table), ['172.31.0.2*0', '172.31.0.3*0', '172.31.0.4*1']);
    table.tick(100 + GRACE_MS, 0);
    assert.deepEqual(gatewaysOf(table), ['172.31.0.3*0', '172.31.0.4*1']);
    assert.equal(table.nextDeadlineMs(), 200 + GRACE_MS);
    table.tick(200 + GRACE_MS, 0);
    assert.deepEqual(gatewaysOf(table), ['172.31.0.4*1']);
  });

  it('is a gateway like others when it comes back, and has its time anew when it leaves again', () => {
    const table = patientTable();
    say(table, 0, claim('west', CIDR, '172.31.0.2 172.31.0.3'));
    say(table, 100, claim('west', CIDR, '172.31.0.3'));
    say(table, 200, claim('west', CIDR, '172.31.0.2 172.31.0.3'));
    table.tick(100 + GRACE_MS, 0);
    assert.deepEqual(gatewaysOf(table), ['172.31.0.2*1', '172.31.0.3*1']);
    say(table, 1200, claim('west', CIDR, '172.31.0.3'));
    table.tick(1199 + GRACE_MS, 0);
    assert.deepEqual(gatewaysOf(table), ['172.31.0.2*0', '172.31.0.3*1']);
    table.tick(1200 + GRACE_MS, 0);
    assert.deepEqual(gatewaysOf(table), ['172.31.0.3*1']);
  });

  it('goes at once with the route, and with a route that passes to another cluster', () => {
    const table = patientTable();
    say(table, 0, claim('west', CIDR, '172.31.0.2'));
    table.apply('b', { kind: 'replace', claims: [claim('north', CIDR, '172.31.0.9')] }, 0, 0);
    say(table, 100, claim('west', CIDR, '172.31.0.3'));
    say(table, 200);
    assert.deepEqual(gatewaysOf(table), ['172.31.0.9*1']);
    table.apply('b', { kind: 'replace', claims: [] }, 300, 300);
    assert.deepEqual(gatewaysOf(table), []);
    say(table, 400, claim('west', CIDR, '172.31.0.4'));
    assert.deepEqual(gatewaysOf(table), ['172.31.0.4*1']);
  });

  it('is not kept when it became an address of this host, neither then nor later', () => {
    const table = patientTable();
    const own = { ...PATIENT, ownAddresses: [parseAddress('172.31.0.2')] };
    say(table, 0, claim('west', CIDR, '172.31.0.2', 'x'), claim('west', CIDR, '172.31.0.3', 'y'));
    table.reconfigure(own, 100, 100);
    assert.deepEqual(gatewaysOf(table), ['172.31.0.3*1']);
    table.reconfigure(PATIENT, 200, 200);
    say(table, 300, claim('west', CIDR, '172.31.0.3', 'y'));
    assert.deepEqual(gatewaysOf(table), ['172.31.0.2*0', '172.31.0.3*1']);
    table.reconfigure(own, 400, 400);
    assert.deepEqual(gatewaysOf(table), ['172.31.0.3*1']);
  });

  it('is not kept where there is no grace', () => {
    const table = patientTable(SETTINGS);
    say(table, 0, claim('west', CIDR, '172.31.0.2'));
    say(table, 100, claim('west', CIDR, '172.31.0.3'));
    assert.deepEqual(gatewaysOf(table), ['172.31.0.3*1']);
    assert.equal(table.nextDeadlineMs(), undefined);
  });

  it('gives its place to those that left later where a route has no room for all', () => {
    const table = patientTable(PATIENT, { gatewaysPerRoute: 3 });
    say(table, 0, claim('west', CIDR, '172.31.0.2'));
    for (const last of [3, 4, 5]) say(table, last * 10, claim('west', CIDR, `172.31.0.${last}`));
    assert.deepEqual(gatewaysOf(table), ['172.31.0.3*0', '172.31.0.4*0', '172.31.0.5*1']);
  });

  it('is forgotten by a restart, while a gateway that is claimed with weight 0 is not', () => {
    const table = patientTable();
    say(table, 0, claim('west', CIDR, '172.31.0.2 172.31.0.5*0'));
    say(table, 100, claim('west', CIDR, '172.31.0.3 172.31.0.5*0'));
    const after = patientTable();
    after.restore(table.snapshot(), 0, 0);
    assert.deepEqual(gatewaysOf(after), ['172.31.0.3*1', '172.31.0.5*0']);
  });

  it('leaves the many routes that change with it one list of gateways', () => {
    const table = patientTable();
    const [two, one] = ['172.31.0.2 172.31.0.3', '172.31.0.3'].map(
      (text) => claim('west', CIDR, text).gateways,
    );
    const of = (gateways = two) =>
      ['10.2.0.0/16', '10.3.0.0/16', '10.4.0.0/16'].map((cidr) => ({
        ...claim('west', cidr),
        gateways: gateways!,
      }));
    say(table, 0, ...of(two));
    say(table, 100, ...of(one));
    const lists = new Set(Array.from(table.routes(), ({ gateways }) => gateways));
    assert.equal(lists.size, 1);
    table.tick(100 + GRACE_MS, 0);
    assert.deepEqual(new Set(Array.from(table.routes(), ({ gateways }) => gateways)), new Set([one]));
  });
});

describe('any sequence of gateways of a route', () => {
  const moves = fc.array(
    fc.record({
      waitMs: fc.nat(700),
      source: fc.constantFrom('a', 'b'),
      gateways: fc.option(fc.uniqueArray(fc.integer({ min: 2, max: 6 }), { minLength: 1, maxLength: 3 }), {
        nil: undefined,
      }),
    }),
    { maxLength: 30 },
  );

  it('leaves exactly those with weight 0 that were claimed within the grace while the route stood', () => {
    fc.assert(
      fc.property(moves, (sequence) => {
        const table = patientTable();
        const claimed = new Map<string, readonly number[]>();
        /** When each was last claimed. */
        let seen = new Map<number, number>();
        let nowMs = 0;
        for (const { waitMs, source, gateways } of sequence) {
          const endMs = nowMs + waitMs;
          for (
            let next = table.nextDeadlineMs();
            next !== undefined && next <= endMs;
            next = table.nextDeadlineMs()
          )
            table.tick(next, next);
          nowMs = endMs;
          for (const address of [...claimed.values()].flat()) seen.set(address, nowMs);
          if (gateways === undefined) claimed.delete(source);
          else claimed.set(source, gateways);
          const claims = (gateways ?? [])
            .slice(0, 1)
            .map(() => claim('west', CIDR, (gateways ?? []).map((n) => `172.31.0.${n}`).join(' ')));
          table.apply(source, { kind: 'replace', claims }, nowMs, nowMs);
          if (claimed.size === 0) seen = new Map();
          const live = new Set([...claimed.values()].flat());
          const leaving = [...seen].filter(
            ([address, atMs]) => !live.has(address) && atMs + GRACE_MS > nowMs,
          );
          const expected = [...[...live].map((n) => [n, 1]), ...leaving.map(([n]) => [n, 0])].sort(
            (x, y) => x[0]! - y[0]!,
          );
          assert.deepEqual(
            gatewaysOf(table),
            expected.map(([n, weight]) => `172.31.0.${n}*${weight}`),
          );
        }
      }),
      { seed: SEED, numRuns: 200 },
    );
  });
});
