import assert from 'node:assert/strict';
import type { Trace } from '../../src/admin/view.ts';
import { entryOf } from '../../src/measure/shipped-gateway.ts';
import { type Machine, poll } from '../../src/measure/topology.ts';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { joinClusters } from './topology/gateway-process.ts';
import { inScene, systemTest } from './topology/scene.ts';

const OURS = 'fd00:1::/48';
const THEIRS = 'fd00:2::/48';
const SOON_MS = 10_000;

async function routes(machine: Machine): Promise<string[]> {
  const text = await machine.exec('ip', '-6', 'route', 'show', 'table', 'all', 'proto', '73');
  return text.split('\n').filter((line) => line.trim() !== '');
}

async function isThere(machine: Machine): Promise<boolean> {
  const [only, ...others] = await routes(machine);
  return others.length === 0 && /^fd00:2::\/48 dev isthmus0 metric 100\b/.test(only ?? '');
}

systemTest(
  'an IPv6 CIDR of a remote cluster is a route to the device, put back and adopted like one of IPv4, and goes at exit',
  () =>
    inScene(
      async () =>
        joinClusters(await twoClusters(), {}, (gateway, local, remote) => {
          const clusters = [{ ...entryOf(remote), cidrs: [remote.cidr, THEIRS] }];
          gateway.configure(local, remote, {
            cluster: { name: local.name, cidrs: [local.cidr, OURS] },
            clusters,
          });
        }),
      async ({ gwA: gateway, b }) => {
        const { machine } = gateway;
        await machine.sysctl({ 'net.ipv6.conf.all.forwarding': 0 });
        assert.ok(await isThere(machine), (await routes(machine)).join('\n'));
        assert.deepEqual(await gateway.routes(), [b.cidr, THEIRS]);
        const addresses = await machine.exec('ip', '-6', 'address', 'show', 'dev', 'isthmus0');
        assert.equal(addresses.trim(), '', 'no link-local address, so that no router is solicited');

        const trace = async (address: string) =>
          (await gateway.api(`/api/v1/trace?destination=${encodeURIComponent(address)}`)) as Trace;
        const theirs = await trace('fd00:2::7');
        assert.deepEqual(
          [theirs.verdict, theirs.cidr, theirs.gateway],
          ['remote', THEIRS, b.gateways[0]!.address],
        );
        assert.deepEqual((await trace('fd00:1::7')).verdict, 'local');
        assert.deepEqual((await trace('fd00:3::7')).verdict, 'unreachable');

        await machine.exec('ip', '-6', 'route', 'delete', THEIRS, 'dev', 'isthmus0', 'metric', '100');
        await poll('the route is back', SOON_MS, () => isThere(machine));
        await poll('forwarding is missed', 2 * SOON_MS, async () =>
          (await gateway.command('status').catch((error: Error) => error.message)).includes(
            'net.ipv6.conf.all.forwarding is 0',
          ),
        );
        await gateway.kill('SIGKILL');
        assert.ok(await isThere(machine), 'a crash leaves the route');
        gateway.start();
        await gateway.ready();
        assert.ok(await isThere(machine), 'the route is adopted');
        assert.equal(await gateway.kill('SIGTERM'), 0);
        assert.deepEqual(await routes(machine), []);
      },
    ),
);
