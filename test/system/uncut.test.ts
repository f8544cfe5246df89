import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { type TwoClustersOptions, twoClusters } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { type GatewayProcess, type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { suiteInScene } from './topology/scene.ts';
import { BATCH, RAW_SOCKET, type Variant } from './topology/variants.ts';

const TCP_PORT = 5001;
const UDP_PORT = 5002;
const INNER_MTU_BYTES = 1480;
const TRANSFER_BYTES = 8_000_003;

/** MTU of the pods: their packets fit the device uncut, whatever the MSS clamp is told. */
const OPTIONS: TwoClustersOptions = { podMtuBytes: INNER_MTU_BYTES };

/** What the kernel has put into the gateway's device: a packet that is left to the gateway to cut counts once. */
async function intoDevice({ machine }: GatewayProcess): Promise<{ packets: number; bytes: number }> {
  const folder = '/sys/class/net/isthmus0/statistics';
  const text = await machine.exec('cat', `${folder}/tx_packets`, `${folder}/tx_bytes`);
  const [packets = 0, bytes = 0] = text.trim().split('\n').map(Number);
  return { packets, bytes };
}

async function meanBytesDuring(gateway: GatewayProcess, action: () => Promise<void>): Promise<number> {
  const before = await intoDevice(gateway);
  await action();
  const after = await intoDevice(gateway);
  return (after.bytes - before.bytes) / (after.packets - before.packets);
}

/** One stream from a pod of A to one of B, compared byte by byte. */
async function transfer(scene: JoinedClusters, seed: number): Promise<void> {
  const [client, server] = [
    await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT),
    await scene.b.pods[0]!.machine.agent(TRAFFIC_AGENT),
  ];
  await server.call('tcpSink', { port: TCP_PORT });
  const destination = scene.b.pods[0]!.address;
  const request = { destination, port: TCP_PORT, bytes: TRANSFER_BYTES, connections: 1, seed };
  const { received } = await client.call('tcpSend', request);
  assert.deepEqual(received, [{ bytes: TRANSFER_BYTES, firstDifference: -1 }]);
  await Promise.all([client.close(), server.close()]);
}

async function metric(gateway: GatewayProcess, name: string): Promise<number> {
  return (await gateway.metrics()).get(name) ?? Number.NaN;
}

async function assertAllCounted(gateway: GatewayProcess): Promise<void> {
  const { outbound } = (await gateway.status()).traffic;
  assert.deepEqual(outbound.drops, {});
  assert.ok(outbound.bytes / outbound.packets <= INNER_MTU_BYTES, 'what left is counted as it left');
}

const make =
  (variant: Variant, options: TwoClustersOptions, tunnel: object = {}) =>
  async () =>
    joinClusters(await twoClusters({ ...OPTIONS, ...options }), {
      ...variant.change,
      tunnel: { ...variant.change.tunnel, ...tunnel },
    });

for (const variant of [BATCH, RAW_SOCKET]) {
  const { skip } = variant;
  suiteInScene(
    `packets that the device hands over uncut (${variant.name})`,
    { make: make(variant, {}), skip },
    (check) => {
      check('TCP arrives to the byte, and the kernel did leave the cutting to the gateway', async (scene) => {
        const meanBytes = await meanBytesDuring(scene.gwA, () => transfer(scene, 21));
        assert.ok(meanBytes > 2 * INNER_MTU_BYTES, `packets came with ${meanBytes} bytes on average`);
        await assertAllCounted(scene.gwA);
      });

      check('so does TCP of a sender that allows fragmentation', async (scene) => {
        await scene.a.pods[0]!.machine.sysctl({ 'net.ipv4.ip_no_pmtu_disc': 1 });
        const meanBytes = await meanBytesDuring(scene.gwA, () => transfer(scene, 22));
        assert.ok(meanBytes > 2 * INNER_MTU_BYTES, `packets came with ${meanBytes} bytes on average`);
        await assertAllCounted(scene.gwA);
        assert.equal(await metric(scene.gwA, 'isthmus_fragmented_packets_total'), 0);
      });
    },
  );
}

/** The first packets of full size learn that the path is narrower, in the middle of a stream that knew nothing of it. */
const narrow = { make: make(BATCH, { farMtuBytes: 1400 }, { clampMss: false }) };
suiteInScene(
  'packets that the device hands over uncut, on a path that turns out to be narrower',
  narrow,
  (check) => {
    check('TCP with DF is told, sends smaller segments, and arrives to the byte', async (scene) => {
      await transfer(scene, 23);
      const samples = [...(await scene.gwA.metrics())];
      const learned = samples.filter(([name]) => name.startsWith('isthmus_peer_path_mtu_bytes'));
      assert.deepEqual(
        learned.map(([, value]) => value),
        [1400],
      );
      assert.equal((await scene.gwA.status()).tunnel.mtuBytes, INNER_MTU_BYTES);
      assert.equal(await metric(scene.gwA, 'isthmus_fragmented_packets_total'), 0);
    });

    check('TCP without DF has each segment fragmented, and arrives to the byte', async (scene) => {
      await scene.a.pods[0]!.machine.sysctl({ 'net.ipv4.ip_no_pmtu_disc': 1 });
      // What the pod has learned about the way before.
      await scene.a.pods[0]!.machine.ip('route flush cache');
      await transfer(scene, 24);
      const fragmented = await metric(scene.gwA, 'isthmus_fragmented_packets_total');
      assert.ok(fragmented > 1000, `${fragmented} packets were fragmented`);
    });
  },
);

/** A send of several datagrams in one call (UDP_SEGMENT, Linux 4.18), each answered by the echo: prints how many came back as they were. */
const SEGMENT_SENDER = `
import socket, sys
destination, port = sys.argv[1], int(sys.argv[2])
SOL_UDP, UDP_SEGMENT, SIZE = 17, 103, 1001
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setsockopt(SOL_UDP, UDP_SEGMENT, SIZE)
sender.settimeout(5)
intact = 0
for turn in range(50):
    payload = bytes((turn * 13 + i * 7 + (i >> 8)) & 255 for i in range(20 * SIZE + 333))
    sender.sendto(payload, (destination, port))
    expected = [payload[at:at + SIZE] for at in range(0, len(payload), SIZE)]
    got = [sender.recv(2048) for _ in expected]
    intact += sum(one in got for one in expected)
print(intact)
`;

const PYTHON = ['/usr/bin/python3', '/usr/local/bin/python3'].some((path) => existsSync(path));
const udpSkip = PYTHON ? undefined : 'python3 is missing (Debian: apt-get install python3)';

/** The device takes datagrams uncut since Linux 6.2; before, the kernel cuts them. */
function hasUso(): boolean {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  return major > 6 || (major === 6 && minor >= 2);
}

for (const variant of [BATCH, RAW_SOCKET]) {
  const skip = variant.skip ?? udpSkip;
  suiteInScene(
    `datagrams of a sender with UDP_SEGMENT (${variant.name})`,
    { make: make(variant, {}), skip },
    (check) => {
      check('arrive one by one and to the byte', async (scene) => {
        const echo = await scene.b.pods[0]!.machine.agent(TRAFFIC_AGENT);
        await echo.call('udpEcho', { port: UDP_PORT });
        let intact = '';
        const meanBytes = await meanBytesDuring(scene.gwA, async () => {
          const arguments_ = [scene.b.pods[0]!.address, String(UDP_PORT)];
          intact = await scene.a.pods[0]!.machine.exec('python3', '-c', SEGMENT_SENDER, ...arguments_);
        });
        assert.equal(Number(intact), 50 * 21);
        if (hasUso()) assert.ok(meanBytes > 10_000, `packets came with ${meanBytes} bytes on average`);
        await assertAllCounted(scene.gwA);
        await echo.close();
      });
    },
  );
}
