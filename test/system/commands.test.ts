import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PeerRow, RouteRow, Status, Trace } from '../../src/admin/view.ts';
import { entryOf } from '../../src/measure/shipped-gateway.ts';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { GatewayProcess, type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { inScene, suiteInScene, systemTest } from './topology/scene.ts';

const IDLE_MIB_MAX = 120;
const LARGE_MIB_MAX = 250;
const LARGE_ROUTES = 100_000;
const SETTLE_MS = 20_000;

async function json<T>(gateway: GatewayProcess, ...words: readonly string[]): Promise<T> {
  return JSON.parse(await gateway.command(...words, '--json')) as T;
}

function residentMib(gateway: GatewayProcess): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${gateway.daemon.pid}/status`, 'utf8'));
  assert.ok(line !== null);
  return Number(line[1]) / 1024;
}

const make = async (): Promise<JoinedClusters> => joinClusters(await twoClusters());
suiteInScene('the command line asks the running gateway', { make }, (check) => {
  check('status: the picture of one gateway, plain when piped', async ({ gwA }) => {
    const text = await gwA.command('status');
    assert.match(text, /^east: ok/);
    assert.match(text, /172\.31\.1\.2 on under0/);
    assert.ok(!text.includes('\u001b'), 'no colours in a pipe');
    const status = await json<Status>(gwA, 'status');
    assert.deepEqual([status.cluster, status.state, status.underlay.mtuBytes], ['east', 'ok', 1500]);
  });

  check('routes and peers: the other cluster and its gateway', async ({ gwA, b }) => {
    assert.match(await gwA.command('routes'), /10\.2\.0\.0\/16\s+west/);
    assert.match(await gwA.command('peers'), /172\.31\.2\.2\s+west/);
    const [route] = await json<RouteRow[]>(gwA, 'routes');
    assert.deepEqual([route!.cidr, route!.gateways[0]!.address], [b.cidr, b.gateways[0]!.address]);
    const [peer] = await json<PeerRow[]>(gwA, 'peers');
    assert.deepEqual([peer!.address, peer!.alive, peer!.pathMtuBytes], ['172.31.2.2', true, 1500]);
  });

  check('trace: which prefix, cluster and gateway, and why not where not', async ({ gwA }) => {
    const remote = await json<Trace>(gwA, 'trace', '10.2.1.2');
    assert.deepEqual(
      [remote.verdict, remote.cidr, remote.cluster, remote.gateway, remote.innerMtuBytes],
      ['remote', '10.2.0.0/16', 'west', '172.31.2.2', 1480],
    );
    assert.equal((await json<Trace>(gwA, 'trace', '10.1.1.2')).verdict, 'local');
    await assert.rejects(
      gwA.command('trace', '10.50.0.1'),
      /ended with 1:[\s\S]*10\.50\.0\.1: unreachable\nno remote cluster has a prefix for it/,
    );
  });

  check(`uses at most ${IDLE_MIB_MAX} MiB when idle`, async ({ gwA, gwB }) => {
    for (const gateway of [gwA, gwB]) {
      const mib = residentMib(gateway);
      assert.ok(mib <= IDLE_MIB_MAX, `${mib.toFixed(0)} MiB`);
    }
  });
});

systemTest(`a gateway with ${LARGE_ROUTES} routes uses at most ${LARGE_MIB_MAX} MiB`, async () => {
  await inScene(twoClusters, async ({ topology, a, b }) => {
    const gateway = new GatewayProcess(topology, a.gateways[0]!);
    gateway.configure(a, b, { watch: [{ kind: 'file', path: 'clusters.json' }] });
    const cidrs = Array.from({ length: LARGE_ROUTES }, (_, n) => {
      const address = 0x0a80_0000 + n * 16;
      return `10.${(address >> 16) & 255}.${(address >> 8) & 255}.${address & 255}/28`;
    });
    const clusters = [{ name: 'large', cidrs, gateways: entryOf(b).gateways }];
    gateway.write('clusters.json', JSON.stringify({ clusters }));
    gateway.start();
    await gateway.ready(60_000);
    assert.equal((await gateway.status()).counts.routes, LARGE_ROUTES + 1);
    // What loading took is garbage, and its pages go back once the collector has run.
    const deadline = performance.now() + SETTLE_MS;
    while (residentMib(gateway) > LARGE_MIB_MAX && performance.now() < deadline) await sleep(100);
    const mib = residentMib(gateway);
    assert.ok(mib <= LARGE_MIB_MAX, `${mib.toFixed(0)} MiB`);
  });
});
