import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { parseAddress } from '../../src/base/address.ts';
import { BATCH_MAX } from '../../src/io/batch.ts';
import { lacking } from '../../src/measure/sandbox.ts';
import { poll } from '../../src/measure/topology.ts';
import { type TwoClusters, twoClusters } from '../../src/measure/two-clusters.ts';
import { buildIpv4 } from '../sim/oracle/wire.ts';
import { Flow } from '../unit/io/flow-packets.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { GatewayProcess, type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { inScene, systemTest } from './topology/scene.ts';

const SYSTEM_CALLS = 'isthmus_system_calls_total';

const scene = async (tunnel: object, health: object = {}): Promise<JoinedClusters> =>
  joinClusters(await twoClusters(), { tunnel, health });

/** Where system calls are counted: a probe takes some too. */
const COUNTED = { probes: 'off' };

async function pings(it: TwoClusters, count: number, intervalMs: number): Promise<void> {
  const agent = await it.a.pods[0]!.machine.agent(TRAFFIC_AGENT);
  const { received } = await agent.call('ping', {
    destination: it.b.pods[0]!.address,
    ...{ count, intervalMs, sizeBytes: 84, seed: 1, timeoutMs: 2000 },
  });
  await agent.close();
  assert.equal(received, count);
}

async function callsOf(gateway: GatewayProcess): Promise<number> {
  return (await gateway.metrics()).get(SYSTEM_CALLS) ?? Number.NaN;
}

/** Processor time of all threads but the main one, in ticks of 10 ms: fields 14 and 15 of proc(5), counted behind the name. */
function workerTicks(pid: number): number {
  let ticks = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    if (Number(thread) === pid) continue;
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks;
}

/**
 * The window in which processor time is counted, and the share of a core that may go. A tick is 10 ms, so that a worker may be charged
 * with one it did not use: of 5 s that is 0.002.
 */
const IDLE_WINDOW_MS = 5000;
const IDLE_SHARE_MAX = 0.01;

systemTest('after traffic the workers sleep: without packets they take at most 1 % of a processor', (t) =>
  inScene(
    // The longest window there is: if it did not shrink, the workers would spin all the time.
    () => scene({ busyPoll: '10ms' }),
    async (it) => {
      await pings(it, 300, 1);
      await poll('workers that sleep', 5000, async () => {
        const before = await callsOf(it.gwA);
        await wait(200);
        // Each look without sleeping is two calls; a worker that sleeps makes a few a second.
        return (await callsOf(it.gwA)) - before < 20;
      });
      const before = [it.gwA, it.gwB].map((gateway) => workerTicks(gateway.daemon.pid));
      await wait(IDLE_WINDOW_MS);
      [it.gwA, it.gwB].forEach((gateway, index) => {
        const share = ((workerTicks(gateway.daemon.pid) - before[index]!) * 10) / IDLE_WINDOW_MS;
        t.diagnostic(`${gateway.machine.name}: ${share} of a core`);
        assert.ok(share <= IDLE_SHARE_MAX, `${gateway.machine.name}: ${share} of a core`);
      });
    },
  ),
);

/**
 * Out: poll, read, a read that finds nothing, sendmmsg. In: poll, recvmmsg, write. A gateway sees each ping once each way. One more for
 * what is not asked with each packet: parking again after a second, the overflow count.
 */
const CALLS_A_PING = 7;
const LONE_PINGS = 100;

systemTest('a lone packet costs four system calls on its way out and three on its way in', () =>
  inScene(
    () => scene({ busyPoll: 'off' }, COUNTED),
    async (it) => {
      await pings(it, 10, 10);
      const before = await Promise.all([it.gwA, it.gwB].map(callsOf));
      await pings(it, LONE_PINGS, 10);
      const after = await Promise.all([it.gwA, it.gwB].map(callsOf));
      after.forEach((calls, index) => {
        const each = (calls - before[index]!) / LONE_PINGS;
        assert.ok(each <= CALLS_A_PING + 0.5, `${each} system calls a ping`);
        assert.ok(each >= CALLS_A_PING / 2, `${each} system calls a ping`);
      });
    },
  ),
);

const TCP_PORT = 5001;
const TCP_BYTES = 200_000_000;

/** System calls for each packet of the wire, merged TCP at full batches. */
const CALLS_MAX = 0.1;

/**
 * The gateway that sends a stream gets it from its device in 64 KiB and so always has full batches. The other one takes what has arrived
 * when it looks, which is less the faster it is; were nothing merged, it would need more than one call a packet.
 */
const ARRIVING_CALLS_MAX = 0.5;

async function packetsOf(gateway: GatewayProcess): Promise<number> {
  const { outbound, inbound } = (await gateway.status()).traffic;
  return outbound.packets + inbound.packets;
}

systemTest(
  'TCP costs a tenth of a system call a packet at most where it is sent, half a one where it arrives',
  (t) =>
    inScene(
      // A look without sleeping is a call too, and how many there are says nothing about packets.
      () => scene({ busyPoll: 'off' }, COUNTED),
      async (it) => {
        const [client, server] = [
          await it.a.pods[0]!.machine.agent(TRAFFIC_AGENT),
          await it.b.pods[0]!.machine.agent(TRAFFIC_AGENT),
        ];
        await server.call('tcpSink', { port: TCP_PORT });
        const figures = async (gateway: GatewayProcess) => ({
          calls: await callsOf(gateway),
          packets: await packetsOf(gateway),
        });
        const gateways = [it.gwA, it.gwB];
        const before = await Promise.all(gateways.map(figures));
        await client.call('tcpSend', {
          ...{
            destination: it.b.pods[0]!.address,
            port: TCP_PORT,
            bytes: TCP_BYTES,
            connections: 1,
            seed: 1,
          },
        });
        const after = await Promise.all(gateways.map(figures));
        const [out, into] = after.map(({ calls, packets }, index) => {
          const own = packets - before[index]!.packets;
          assert.ok(own > TCP_BYTES / 1500, `${own} packets`);
          return (calls - before[index]!.calls) / own;
        });
        t.diagnostic(`${out} system calls a packet where it is sent, ${into} where it arrives`);
        assert.ok(out! <= CALLS_MAX, `${out} system calls a packet where it is sent`);
        assert.ok(into! <= ARRIVING_CALLS_MAX, `${into} system calls a packet where it arrives`);
        await Promise.all([client.close(), server.close()]);
      },
    ),
);

const FULL_BATCHES = 10;

systemTest(
  'TCP that waits in full batches costs a tenth of a system call a packet at most where it arrives',
  (t) =>
    inScene(
      () => scene({ busyPoll: 'off' }, COUNTED),
      async (it) => {
        const [from, to] = [it.a.gateways[0]!, it.b.gateways[0]!];
        // A host that is not there, and of which nobody says so: nothing comes back.
        const destination = [10, 2, 1, 99] as const;
        await to.machine.ip(`route add blackhole ${destination.join('.')}`);
        const flow = new Flow({ network: [10, 1, 1], destination });
        const packets = Array.from({ length: FULL_BATCHES * BATCH_MAX }, () => {
          const [source, gateway] = [parseAddress(from.address), parseAddress(to.address)];
          const fields = {
            source,
            destination: gateway,
            protocol: 4,
            dontFragment: true,
            payload: flow.next(),
          };
          return Buffer.from(buildIpv4(fields)).toString('hex');
        });
        const sender = await from.machine.agent(TRAFFIC_AGENT);
        const before = { calls: await callsOf(it.gwB), packets: await packetsOf(it.gwB) };
        // Stopped, the gateway finds them all when it goes on, whatever the machine has to do.
        process.kill(it.gwB.daemon.pid, 'SIGSTOP');
        try {
          assert.deepEqual((await sender.call('sendPackets', { packets, gapMs: 0 })).refused, []);
        } finally {
          process.kill(it.gwB.daemon.pid, 'SIGCONT');
        }
        await poll(
          'packets at the gateway',
          5000,
          async () => (await packetsOf(it.gwB)) - before.packets === packets.length,
        );
        const each = ((await callsOf(it.gwB)) - before.calls) / packets.length;
        t.diagnostic(`${each} system calls a packet`);
        assert.ok(each <= CALLS_MAX, `${each} system calls a packet`);
        await sender.close();
      },
    ),
);

/** What the packet loop may call. */
const TRACED = [
  'poll',
  'sched_yield',
  'read',
  'readv',
  'write',
  'writev',
  'recvmmsg',
  'sendmmsg',
  'getsockopt',
] as const;

/** `-D`: the gateway stays the process that was started, and the tracer beside it ends with it. */
class TracedGateway extends GatewayProcess {
  /** Not in a folder that the gateway watches: each line would be an event there, and each event a line. */
  get traceFile(): string {
    return `${this.folder}.strace`;
  }

  override commandLine(): string[] {
    const tracer = ['strace', '-D', '-f', '-q', '-e', `trace=${TRACED.join(',')}`, '-o', this.traceFile];
    return [...tracer, ...super.commandLine()];
  }
}

/** Calls of the packet worker, which is the one thread that polls four descriptors, from its first poll on. */
function tracedCalls(file: string): number {
  const lines = readFileSync(file, 'utf8').split('\n');
  const first = lines.findIndex((line) => /^\d+ +poll\(\[(?:\{[^}]*\},? ?){4}\]/.test(line));
  const worker = /^\d+/.exec(lines[first] ?? '')?.[0];
  // A call during which another thread came to speak takes two lines; the second does not begin with its name.
  return lines.slice(first).filter((line) => new RegExp(`^${worker} +\\w+\\(`).test(line)).length;
}

systemTest(
  'the counted system calls are those that strace sees',
  () =>
    inScene(
      async () => {
        const made = await twoClusters();
        const gwA = new TracedGateway(made.topology, made.a.gateways[0]!);
        const gwB = new GatewayProcess(made.topology, made.b.gateways[0]!);
        gwA.configure(made.a, made.b);
        gwB.configure(made.b, made.a);
        for (const gateway of [gwA, gwB]) gateway.start();
        await Promise.all([gwA.ready(), gwB.ready()]);
        return { ...made, gwA, gwB };
      },
      async (it) => {
        await pings(it, 500, 2);
        const counted = await callsOf(it.gwA);
        assert.equal(await it.gwA.kill('SIGTERM'), 0);
        // The tracer writes its last lines once the gateway is gone.
        const isWhole = (): boolean =>
          readFileSync(it.gwA.traceFile, 'utf8').includes('+++ exited with 0 +++');
        await poll('the end of the trace', 5000, isWhole);
        const seen = tracedCalls(it.gwA.traceFile);
        assert.ok(counted >= 500, `${counted} counted`);
        // A few calls are made between the last look at the counter and the end.
        assert.ok(Math.abs(counted - seen) <= 20, `${counted} counted, ${seen} seen`);
      },
    ),
  lacking('strace', 'strace'),
);
