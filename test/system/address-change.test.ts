import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { entryOf } from '../../src/measure/shipped-gateway.ts';
import { type Machine, poll } from '../../src/measure/topology.ts';
import { type TwoClusters, twoClusters } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { GatewayProcess, type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { flows, whilePinging } from './topology/ping-series.ts';
import { inScene, systemTest } from './topology/scene.ts';
import { BATCH, PACKET, RAW_SOCKET, TWO_WORKERS } from './topology/variants.ts';

/** Our own underlay address changes under traffic. B learns the new one by its watched file, as it would by etcd or Kubernetes. */
const SOON_MS = 10_000;
const OLD = '172.31.1.2';
const NEW = '172.31.1.77';
const ROUTER = '172.31.1.1';

/** B accepts from the address that is to come: in a fleet, one registration says both at once. */
async function scene(tunnel: object, underlay: object = {}): Promise<JoinedClusters> {
  const made = await twoClusters();
  // Else the kernel would remove the new address with the old one, whose network it shares.
  await made.a.gateways[0]!.machine.sysctl({ 'net.ipv4.conf.all.promote_secondaries': 1 });
  const watch = [{ kind: 'file', path: 'clusters.yaml', pollInterval: '60s' }];
  return joinClusters(made, { tunnel, underlay, watch, clusters: [] }, (gateway, local, remote) => {
    gateway.writeWatched([entryOf(remote)]);
    if (local === made.b) {
      const security = { decapsulateFrom: [NEW] };
      gateway.configure(local, remote, { tunnel, watch, clusters: [], security });
    }
  });
}

async function tellB({ gwB, a }: JoinedClusters, address: string): Promise<void> {
  gwB.writeWatched([{ ...entryOf(a), gateways: [{ address }] }]);
  await poll(`B sends to ${address}`, SOON_MS, async () =>
    JSON.stringify(await gwB.api('/api/v1/routes')).includes(address),
  );
}

async function underlayIs(gateway: GatewayProcess, address: string): Promise<void> {
  await poll(
    `underlay ${address}`,
    SOON_MS,
    async () => (await gateway.status()).underlay.address === address,
  );
}

/** What tells a process and its device from one that was made anew. */
async function identity(gateway: GatewayProcess): Promise<unknown[]> {
  const links = await gateway.machine.ipJson<{ ifname: string; ifindex: number }>('link', 'show');
  const { pid, isRunning } = gateway.daemon;
  return [pid, isRunning, links.find(({ ifname }) => ifname === 'isthmus0')?.ifindex];
}

const nodeA = (it: JoinedClusters): Machine => it.gwA.machine;

for (const { name, change, skip } of [BATCH, TWO_WORKERS, PACKET, RAW_SOCKET]) {
  const { tunnel = {} } = change;

  systemTest(
    `another address beside the old one is taken without a restart, and no packet is lost (${name})`,
    (t) =>
      inScene(
        () => scene(tunnel),
        async (it) => {
          const { gwA, a, b } = it;
          const before = await identity(gwA);
          const answer = await whilePinging(a.pods[0]!.machine, b.pods[0]!.address, 1, async (series) => {
            await nodeA(it).ip(`addr add ${NEW}/24 dev under0`);
            await nodeA(it).ip(`route replace default via ${ROUTER} src ${NEW}`);
            await underlayIs(gwA, NEW);
            // B still sends to the old address, and hears from the new one.
            await series.replies(100);
            await tellB(it, NEW);
            await series.replies(100);
            await nodeA(it).ip(`addr del ${OLD}/24 dev under0`);
            await series.replies(100);
          });
          t.diagnostic(`${answer.sent} pings, ${answer.lost.length} lost`);
          assert.deepEqual([answer.lost, answer.duplicated, answer.corrupted], [[], 0, 0]);
          assert.deepEqual(await identity(gwA), before);
          assert.deepEqual((await gwA.status()).problems, []);
        },
      ),
    skip,
  );

  systemTest(
    `an address that is replaced at once is followed, and nothing but what was on its way is lost (${name})`,
    (t) =>
      inScene(
        () => scene(tunnel),
        (it) => replacedAtOnce(t, it),
      ),
    skip,
  );
}

async function replacedAtOnce(t: TestContext, it: JoinedClusters): Promise<void> {
  const { gwA, a, b } = it;
  const before = await identity(gwA);
  let tookMs = 0;
  const answer = await whilePinging(a.pods[0]!.machine, b.pods[0]!.address, 1, async (series) => {
    const start = performance.now();
    await nodeA(it).ip(
      `addr del ${OLD}/24 dev under0`,
      `addr add ${NEW}/24 dev under0`,
      `route add default via ${ROUTER}`,
    );
    await underlayIs(gwA, NEW);
    tookMs = performance.now() - start;
    await tellB(it, NEW);
    await series.replies(100);
  });
  t.diagnostic(
    `followed after ${tookMs.toFixed(0)} ms; ${answer.sent} pings, ${answer.lost.length} lost until B was told`,
  );
  assert.deepEqual(await identity(gwA), before);
  await flows(it);
  assert.deepEqual((await gwA.status()).problems, []);
}

systemTest('after the grace period packets to the former address are no longer taken', () =>
  inScene(
    () => scene({ gatewayGrace: '1s' }),
    async (it) => {
      const { gwA, gwB } = it;
      await nodeA(it).ip(`addr add ${NEW}/24 dev under0`, `route replace default via ${ROUTER} src ${NEW}`);
      await underlayIs(gwA, NEW);
      const inbound = async () => (await gwA.status()).traffic.inbound.packets;
      const sent = async () => (await gwB.status()).traffic.outbound.packets;
      const agent = await it.a.pods[0]!.machine.agent(TRAFFIC_AGENT);
      const ping = { destination: it.b.pods[0]!.address, count: 1, intervalMs: 1, sizeBytes: 84, seed: 1 };
      await poll('the end of the grace period', SOON_MS, async () => {
        const [before, beforeB] = [await inbound(), await sent()];
        const { received } = await agent.call('ping', { ...ping, timeoutMs: 200 });
        return received === 0 && (await inbound()) === before && (await sent()) === beforeB + 1;
      });
      await tellB(it, NEW);
      await flows(it);
    },
  ),
);

systemTest(
  'the default route on another device takes the underlay there, with its MTU, and no packet is lost',
  (t) =>
    inScene(
      async () => {
        const made = await twoClusters();
        const gateway = made.a.gateways[0]!.machine;
        await made.topology.cable(
          { machine: gateway, device: 'under1', addresses: ['172.31.3.2/24'], mtuBytes: 1400 },
          { machine: made.router, device: 'to-second', addresses: ['172.31.3.1/24'], mtuBytes: 1400 },
        );
        // Until the gateway has followed, its packets come to the router by the new cable with the old source: a strict router drops them,
        // and with them the first ARP request, which the kernel sends again only after a second.
        for (const machine of [gateway, made.router])
          await machine.sysctl({ 'net.ipv4.conf.all.rp_filter': 2 });
        const watch = [{ kind: 'file', path: 'clusters.yaml', pollInterval: '60s' }];
        return joinClusters(made, { watch, clusters: [] }, (process, local, remote) => {
          process.writeWatched([entryOf(remote)]);
          const security = { decapsulateFrom: ['172.31.3.2'] };
          if (local === made.b) process.configure(local, remote, { watch, clusters: [], security });
        });
      },
      async (it) => {
        const { gwA, a, b } = it;
        const before = await identity(gwA);
        const answer = await whilePinging(a.pods[0]!.machine, b.pods[0]!.address, 1, async (series) => {
          await nodeA(it).ip('route replace default via 172.31.3.1 dev under1');
          await underlayIs(gwA, '172.31.3.2');
          await series.replies(100);
          await tellB(it, '172.31.3.2');
          await series.replies(100);
        });
        t.diagnostic(`${answer.sent} pings, ${answer.lost.length} lost`);
        assert.deepEqual([answer.lost, answer.duplicated, answer.corrupted], [[], 0, 0]);
        const { underlay, tunnel } = await gwA.status();
        assert.deepEqual([underlay.device, underlay.mtuBytes, tunnel.mtuBytes], ['under1', 1400, 1380]);
        assert.deepEqual(await identity(gwA), before);
      },
    ),
);

systemTest('a configured underlay.address is not exchanged: status names it until it is back', () =>
  inScene(
    async () => {
      const made = await twoClusters();
      return joinClusters(made, {}, (gateway, local, remote) => {
        if (local === made.a) gateway.configure(local, remote, { underlay: { address: OLD } });
      });
    },
    async (it) => {
      const { gwA } = it;
      await nodeA(it).ip(`addr add ${NEW}/24 dev under0`, `route replace default via ${ROUTER} src ${NEW}`);
      await flows(it);
      await nodeA(it).ip(`addr del ${OLD}/24 dev under0`, `addr add ${NEW}/24 dev under0`);
      const { reasons } = await poll('not ready', SOON_MS, async () => {
        const readiness = await gwA.readiness();
        return !readiness.ready && readiness;
      });
      assert.match(reasons.join('\n'), new RegExp(OLD));
      assert.equal((await gwA.status()).underlay.address, OLD);
      await nodeA(it).ip(`addr add ${OLD}/24 dev under0`, `route replace default via ${ROUTER}`);
      await poll('ready again', 3 * SOON_MS, async () => (await gwA.readiness()).ready);
      await flows(it);
    },
  ),
);

/** A gateway whose address is not there yet, as at boot; gwB has all it needs. */
async function booting(): Promise<{
  topology: TwoClusters['topology'];
  scene: TwoClusters;
  gateway: GatewayProcess;
}> {
  const scene = await twoClusters();
  const gateway = new GatewayProcess(scene.topology, scene.a.gateways[0]!);
  gateway.configure(scene.a, scene.b);
  await gateway.machine.ip('addr flush dev under0');
  gateway.start();
  await poll('the reason of the wait', SOON_MS, async () => {
    const { ready, reasons } = await gateway.readiness().catch(() => ({ ready: false, reasons: [''] }));
    return !ready && (await gateway.status().catch(() => undefined))?.problems.some(isWaiting) && reasons;
  });
  return { topology: scene.topology, scene, gateway };
}

const isWaiting = (problem: string): boolean =>
  /waiting for the underlay: .*no route to gateway/.test(problem);

systemTest('a gateway that is started before its address is there waits for it', () =>
  inScene(booting, async ({ gateway }) => {
    await gateway.machine.ip(`addr add ${OLD}/24 dev under0`, `route add default via ${ROUTER}`);
    await gateway.ready();
    assert.equal((await gateway.status()).underlay.address, OLD);
    assert.deepEqual((await gateway.status()).problems, []);
  }),
);

systemTest('SIGTERM ends the wait for an address', () =>
  inScene(booting, async ({ gateway }) => {
    assert.equal(await gateway.kill('SIGTERM'), 0);
  }),
);
