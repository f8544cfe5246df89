import assert from 'node:assert/strict';
import { poll } from '../../src/measure/topology.ts';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import type { PingAnswer } from './topology/agent-commands.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { type GatewayProcess, type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { IP_HEADER_BYTES, ipv4, PROTOCOL, pattern } from './topology/packet-builder.ts';
import { inScene, systemTest } from './topology/scene.ts';
import { Tap } from './topology/tap.ts';

/** What an administrator, or a program, does to the host under a running gateway, and what the gateway does about it. */
const DEVICE = 'isthmus0';
const MENDED_MS = 10_000;
const ICMP_FRAGMENTATION_NEEDED = [3, 4];

const joined = async (): Promise<JoinedClusters> => joinClusters(await twoClusters());

interface Link {
  readonly ifname: string;
  readonly mtu: number;
  readonly flags: readonly string[];
}

async function link(gateway: GatewayProcess): Promise<Link | undefined> {
  return (await gateway.machine.ipJson<Link>('link', 'show')).find(({ ifname }) => ifname === DEVICE);
}

async function kernelRoutes(gateway: GatewayProcess): Promise<string> {
  return gateway.machine.exec('ip', 'route', 'show', 'table', 'all', 'dev', DEVICE, 'proto', '73');
}

async function pings(scene: JoinedClusters, count: number, intervalMs = 1): Promise<PingAnswer> {
  const agent = await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT);
  const answer = await agent.call('ping', {
    ...{ destination: scene.b.pods[0]!.address, count, intervalMs },
    ...{ sizeBytes: 84, seed: 1, timeoutMs: 2000 },
  });
  await agent.close();
  return answer;
}

async function trafficFlows(scene: JoinedClusters): Promise<void> {
  const { lost, corrupted } = await pings(scene, 100);
  assert.deepEqual([lost, corrupted], [[], 0]);
}

/** The processor time that a process has used, in ticks of 10 ms: fields 14 and 15 of /proc/PID/stat. */
async function processorTicks(gateway: GatewayProcess): Promise<number> {
  const stat = await gateway.machine.exec('cat', `/proc/${gateway.daemon.pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

/** A loop that spins takes a whole processor whatever else the machine does; a gateway with one ping in 10 ms hardly any. */
async function doesNotSpin(scene: JoinedClusters): Promise<void> {
  const [ticks, start] = [await processorTicks(scene.gwA), performance.now()];
  await pings(scene, 150, 10);
  const usedMs = ((await processorTicks(scene.gwA)) - ticks) * 10;
  const tookMs = performance.now() - start;
  assert.ok(usedMs < tookMs / 2, `${usedMs} ms of processor time in ${tookMs.toFixed(0)} ms`);
}

async function endsWithin(gateway: GatewayProcess, timeoutMs: number): Promise<number | string> {
  await poll('the end of the process', timeoutMs, () => !gateway.daemon.isRunning);
  return gateway.daemon.exited;
}

systemTest(
  'a device that was removed is made anew with its routes, and the gateway still ends when told',
  () =>
    inScene(joined, async (scene) => {
      const { gwA } = scene;
      const before = await kernelRoutes(gwA);
      await gwA.machine.ip(`link del ${DEVICE}`);
      await poll('device and routes back', MENDED_MS, async () => {
        assert.ok(gwA.daemon.isRunning, gwA.daemon.log());
        return (await link(gwA)) !== undefined && (await kernelRoutes(gwA)) === before;
      });
      await poll('ready', MENDED_MS, async () => (await gwA.readiness()).ready);
      await trafficFlows(scene);
      await doesNotSpin(scene);
      assert.equal((await gwA.status()).state, 'ok');
      gwA.daemon.child.kill('SIGTERM');
      assert.equal(await endsWithin(gwA, MENDED_MS), 0);
      assert.equal(await link(gwA), undefined);
    }),
);

systemTest('SIGTERM ends a gateway also right after its device was removed', () =>
  inScene(joined, async ({ gwA }) => {
    await gwA.machine.ip(`link del ${DEVICE}`);
    gwA.daemon.child.kill('SIGTERM');
    assert.ok([0, 1].includes(Number(await endsWithin(gwA, MENDED_MS))), gwA.daemon.log());
    assert.equal(await link(gwA), undefined);
  }),
);

systemTest('a device that was set down is put up again with its routes', () =>
  inScene(joined, async (scene) => {
    const { gwA } = scene;
    const before = await kernelRoutes(gwA);
    assert.notEqual(before.trim(), '');
    await gwA.machine.ip(`link set ${DEVICE} down`);
    await poll('device and routes back', MENDED_MS, async () => {
      const isUp = (await link(gwA))?.flags.includes('UP') === true;
      return isUp && (await kernelRoutes(gwA)) === before;
    });
    await trafficFlows(scene);
    await doesNotSpin(scene);
    assert.equal((await gwA.status()).state, 'ok');
  }),
);

systemTest('the MTU of the device is put right when somebody changes it', () =>
  inScene(joined, async (scene) => {
    const { gwA } = scene;
    await gwA.machine.ip(`link set ${DEVICE} mtu 1300`);
    await poll('the MTU back', MENDED_MS, async () => (await link(gwA))?.mtu === 1480);
    await trafficFlows(scene);
  }),
);

systemTest('the device accepts replies that come another way: its rp_filter is loose', () =>
  inScene(joined, async ({ gwA, gwB }) => {
    for (const gateway of [gwA, gwB]) {
      const path = `/proc/sys/net/ipv4/conf/${DEVICE}/rp_filter`;
      assert.equal((await gateway.machine.exec('cat', path)).trim(), '2');
    }
  }),
);

systemTest('an underlay address that was removed is named by status and /readyz, until it is back', () =>
  inScene(joined, async (scene) => {
    const { gwA } = scene;
    const { address, device } = scene.a.gateways[0]!;
    await gwA.machine.ip(`addr del ${address}/24 dev ${device}`);
    const reasons = await poll('not ready', MENDED_MS, async () => {
      const { ready, httpStatus, reasons } = await gwA.readiness();
      return !ready && httpStatus === 503 && reasons;
    });
    assert.match(reasons.join('\n'), new RegExp(address));
    const status = await gwA.status();
    assert.equal(status.state, 'degraded');
    assert.match(status.problems.join('\n'), new RegExp(address));
    await gwA.machine.ip(`addr add ${address}/24 dev ${device}`, 'route replace default via 172.31.1.1');
    await poll('ready again', 2 * MENDED_MS, async () => (await gwA.readiness()).ready);
    await trafficFlows(scene);
  }),
);

systemTest('a gateway follows the MTU of its underlay device, and TCP goes on', () =>
  inScene(joined, async (scene) => {
    const { gwA, router } = scene;
    const [podA, podB] = [scene.a.pods[0]!, scene.b.pods[0]!];
    const [client, server] = [
      await podA.machine.agent(TRAFFIC_AGENT),
      await podB.machine.agent(TRAFFIC_AGENT),
    ];
    await server.call('tcpSink', { port: 5001 });
    const bytes = 400_000_003;
    const sending = client.call('tcpSend', {
      ...{ destination: podB.address, port: 5001, bytes, connections: 1, seed: 1 },
    });
    await poll('TCP', 5000, async () => (await gwA.status()).traffic.outbound.packets > 1000);
    let isSending = true;
    void sending.finally(() => {
      isSending = false;
    });
    await router.ip('link set to-gwA mtu 1400', 'link set segment1 mtu 1400');
    await gwA.machine.ip('link set under0 mtu 1400');
    await poll('the device follows', MENDED_MS, async () => (await link(gwA))?.mtu === 1380);
    assert.ok(isSending, 'TCP was under way when the MTU changed');
    assert.deepEqual((await sending).received, [{ bytes, firstDifference: -1 }]);
    const status = await gwA.status();
    assert.deepEqual([status.underlay.mtuBytes, status.tunnel.mtuBytes], [1400, 1380]);

    const icmp = await Tap.open(podA.machine, PROTOCOL.ICMP);
    const packet = ipv4({
      ...{ source: podA.address, destination: podB.address, protocol: PROTOCOL.EXPERIMENTAL, id: 7 },
      ...{ payload: pattern(1, 1, 1450 - IP_HEADER_BYTES), dontFragment: true },
    });
    const sender = await podA.machine.agent(TRAFFIC_AGENT);
    // The pod may have learned the new MTU from what TCP was told; then its own kernel refuses, which says the same.
    await podA.machine.exec('ip', 'route', 'flush', 'cache');
    await sender.call('sendPackets', { packets: [packet.toString('hex')], gapMs: 0 });
    const error = (await icmp.first('the ICMP error')).subarray(IP_HEADER_BYTES);
    assert.deepEqual([error[0], error[1]], ICMP_FRAGMENTATION_NEEDED);
    assert.equal(error.readUInt16BE(6), 1380);
  }),
);

systemTest('a route of somebody else that wins over ours is named by status', () =>
  inScene(joined, async ({ gwA, b }) => {
    await gwA.machine.ip(`route add ${b.cidr} via 172.31.1.1 metric 0`);
    // Nothing announces it for what it is: the gateway looks every 10 s, and whenever something else happens, for which this stands.
    const somethingElse = async (change: 'add' | 'del') =>
      gwA.machine.ip(`addr ${change} 192.0.2.1/32 dev lo`);
    await somethingElse('add');
    const problems = await poll('the problem', 3 * MENDED_MS, async () => {
      const status = await gwA.status();
      return status.state === 'degraded' && status.problems;
    });
    assert.match(problems.join('\n'), new RegExp(b.cidr));
    await gwA.machine.ip(`route del ${b.cidr} via 172.31.1.1 metric 0`);
    await somethingElse('del');
    await poll('no problem any more', 3 * MENDED_MS, async () => (await gwA.status()).state === 'ok');
  }),
);
