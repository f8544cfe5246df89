import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { poll } from '../../src/measure/topology.ts';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT, type TrafficAgent } from './topology/agent-commands.ts';
import { type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { IP_HEADER_BYTES, ipv4, PROTOCOL } from './topology/packet-builder.ts';
import { suiteInScene } from './topology/scene.ts';

const ICMP_UNREACHABLE = 3;
const HOST_UNREACHABLE = 1;
const FRAGMENTATION_NEEDED = 4;
const DEADLINE_MS = 5000;

interface Heard {
  readonly source: string;
  readonly type: number;
  readonly code: number;
  readonly nextHopMtu: number;
  /** The packet that it quotes. */
  readonly quoted: Buffer;
}

function datagram(scene: JoinedClusters, sizeBytes: number): Buffer {
  const [source, destination] = [scene.a.pods[0]!.address, scene.b.pods[0]!.address];
  const payload = Buffer.alloc(sizeBytes - IP_HEADER_BYTES, 7);
  return ipv4({
    source,
    destination,
    protocol: PROTOCOL.EXPERIMENTAL,
    payload,
    id: 4711,
    dontFragment: true,
  });
}

function errorsOf(packets: readonly string[]): Heard[] {
  return packets
    .map((hex) => Buffer.from(hex, 'hex'))
    .filter((packet) => packet[IP_HEADER_BYTES] === ICMP_UNREACHABLE)
    .map((packet) => ({
      source: [...packet.subarray(12, 16)].join('.'),
      type: packet[IP_HEADER_BYTES]!,
      code: packet[IP_HEADER_BYTES + 1]!,
      nextHopMtu: packet.readUInt16BE(IP_HEADER_BYTES + 6),
      quoted: packet.subarray(IP_HEADER_BYTES + 8),
    }));
}

/** Sends a packet until its sender hears an ICMP error of that code about it. */
async function heardOf(agent: TrafficAgent, sent: Buffer, code: number): Promise<Heard> {
  return poll(
    `an ICMP error of code ${code}`,
    DEADLINE_MS,
    async () => {
      await agent.call('sendPackets', { packets: [sent.toString('hex')], gapMs: 0 });
      const errors = errorsOf(await agent.call('captured', { protocol: PROTOCOL.ICMP }));
      return errors.find((error) => error.code === code);
    },
    50,
  );
}

function isAbout(heard: Heard, sent: Buffer): void {
  // TTL and header checksum have changed on the way.
  const fixed = (packet: Buffer): Buffer =>
    Buffer.concat([packet.subarray(0, 8), packet.subarray(12, heard.quoted.length)]);
  assert.deepEqual(fixed(heard.quoted), fixed(sent.subarray(0, heard.quoted.length)));
}

const make = async (): Promise<JoinedClusters> =>
  joinClusters(await twoClusters(), { tunnel: { ttl: 1 }, health: { probes: 'off' } });
suiteInScene('errors from inside a tunnel that is too long for its TTL', { make }, (check) => {
  check('are told to the pod as an unreachable host', async (scene) => {
    const agent = await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT);
    await agent.call('capture', { protocol: PROTOCOL.ICMP });
    const sent = datagram(scene, 600);
    const heard = await heardOf(agent, sent, HOST_UNREACHABLE);
    isAbout(heard, sent);
    assert.equal(heard.source, '10.1.1.1', 'the pod hears it from somebody else than its gateway');
    await agent.close();
  });
});

const narrow = async (): Promise<JoinedClusters> =>
  joinClusters(await twoClusters({ farMtuBytes: 1400 }), { health: { probes: 'off' } });
suiteInScene('a path that is narrower behind a router', { make: narrow }, (check) => {
  check('the first packet that is too big for it is told about by the relay', async (scene) => {
    const agent = await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT);
    await agent.call('capture', { protocol: PROTOCOL.ICMP });
    const sent = datagram(scene, 1480);
    const heard = await heardOf(agent, sent, FRAGMENTATION_NEEDED);
    isAbout(heard, sent);
    assert.equal(heard.nextHopMtu, 1380);
    assert.ok((await scene.gwA.metrics()).get('isthmus_icmp_relayed_total')! >= 1);
    await agent.close();
  });
});
