import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseCidr } from '../../../src/base/address.ts';
import { claimsOfClusters } from '../../../src/watch/cluster-claims.ts';
import { StaticWatcher } from '../../../src/watch/static.ts';
import { gateway } from '../table/fixtures.ts';
import { RunningWatcher } from './running-watcher.ts';

const cluster = (name: string, ...cidrs: string[]) => ({
  name,
  cidrs: cidrs.map(parseCidr),
  gateways: [gateway('172.31.0.2')],
});

describe('the clusters of the configuration', () => {
  it('are claimed at the start and after each reload', async () => {
    const watcher = new StaticWatcher([cluster('west', '10.2.0.0/16')]);
    const running = new RunningWatcher(watcher);
    await running.shows('10.2.0.0/16 west');
    assert.deepEqual([...running.table.routes()][0]?.origins, ['config/west:10.2.0.0/16']);
    watcher.update([cluster('west', '10.3.0.0/16'), cluster('north', '10.4.0.0/16')]);
    await running.shows('10.3.0.0/16 west', '10.4.0.0/16 north');
    watcher.update([]);
    await running.shows();
    await running.stop();
  });

  it('have the last of several reloads, also when they come before the first look', async () => {
    const watcher = new StaticWatcher([]);
    watcher.update([cluster('west', '10.2.0.0/16')]);
    watcher.update([cluster('west', '10.3.0.0/16')]);
    const running = new RunningWatcher(watcher);
    await running.shows('10.3.0.0/16 west');
    await running.stop();
  });
});

describe('claims of clusters', () => {
  it('are one for each CIDR, named by cluster and CIDR, also when it is listed twice', () => {
    const claims = claimsOfClusters(
      [cluster('west', '10.2.0.0/16', '10.3.0.0/16', '10.2.0.0/16')],
      'w.yaml:',
    );
    assert.deepEqual(
      claims.map(({ id }) => id),
      ['w.yaml:west:10.2.0.0/16', 'w.yaml:west:10.3.0.0/16'],
    );
    assert.deepEqual(claims[0], {
      id: 'w.yaml:west:10.2.0.0/16',
      cluster: 'west',
      cidr: parseCidr('10.2.0.0/16'),
      gateways: [gateway('172.31.0.2')],
    });
  });
});
