import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig } from '../../../src/config/load.ts';
import { LIVE_FIELDS, planReload } from '../../../src/config/reload.ts';
import type { Config } from '../../../src/config/schema.ts';

const BASE = `
cluster: {name: east, cidrs: [10.1.0.0/16]}
tunnel: {ttl: 64, workers: 2}
`;

function config(text: string): Config {
  const parsed = parseConfig(text, 'east.yaml');
  assert.equal(parsed.problems, undefined);
  return parsed.value as Config;
}

test('an unchanged file changes nothing', () => {
  const plan = planReload(config(BASE), config(BASE));
  assert.deepEqual([plan.changed, plan.restartNeeded], [[], []]);
});

test('a live field is taken over, a field that holds a socket or a thread waits for a restart and keeps its value', () => {
  const next = config(BASE.replace('ttl: 64, workers: 2', 'ttl: 32, workers: 4'));
  const plan = planReload(config(BASE), next);
  assert.deepEqual(plan.changed, ['tunnel.ttl']);
  assert.deepEqual(plan.restartNeeded, ['tunnel.workers']);
  assert.equal(plan.effective.tunnel.ttl, 32);
  assert.equal(plan.effective.tunnel.workers, 2);
});

test('clusters are compared as a whole and are live', () => {
  const added = `${BASE}clusters: [{name: west, cidrs: [10.2.0.0/16], gateways: [{address: 172.31.2.2}]}]\n`;
  const plan = planReload(config(BASE), config(added));
  assert.deepEqual(plan.changed, ['clusters']);
  assert.equal(plan.effective.clusters[0]?.name, 'west');
});

test('every live field is a field of the schema', () => {
  const full = config(BASE) as unknown as Record<string, Record<string, unknown>>;
  for (const name of LIVE_FIELDS) {
    const [section, field] = name.split('.') as [string, string?];
    assert.ok(section in full, name);
    if (field !== undefined) assert.ok(field in full[section]!, name);
  }
});
