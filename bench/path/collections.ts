import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../src/base/errors.ts';
import { rawSocketLacks } from '../../src/io/raw-socket-package.ts';
import { hasIperf } from '../../src/measure/iperf.ts';
import { LocalEnds } from '../../src/measure/local-ends.ts';
import type { ConfigurationChange } from '../../src/measure/shipped-gateway.ts';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { GatewayProcess } from '../../test/system/topology/gateway-process.ts';
import { RAW_SOCKET } from '../../test/system/topology/variants.ts';
import type { CollectionsRow, CollectionsSection } from '../results.ts';
import { say } from '../sandboxed.ts';

/** `[pid:isolate] 123 ms: Scavenge 4.4 (4.5) -> …`, and `[bailout (kind: deopt-eager, reason: …): … <JSFunction name …`. */
const COLLECTION = /^\[\d+:(0x[0-9a-f]+)\]\s+\d+ ms: (?:Scavenge|Mark-Compact|Minor)/;
const DEOPTIMISED = /^\[bailout .*<JSFunction ([^\s>]*)/;
/** Code is still being optimised in the first seconds; what counts is what goes on afterwards. */
const WARM_UP_SECONDS = 5;
const UDP_PER_SECOND = 5000;
const UDP_SIZE = '64';

/** A gateway that reports each garbage collection and each loss of optimised code on its standard output. */
class TracedGateway extends GatewayProcess {
  override commandLine(): string[] {
    const [node, ...words] = super.commandLine();
    return [node!, '--trace-gc', '--trace-deopt', ...words];
  }

  collections(): string[] {
    return this.#lines(COLLECTION);
  }

  deoptimisations(): string[] {
    return this.#lines(DEOPTIMISED);
  }

  #lines(pattern: RegExp): string[] {
    return this.daemon
      .stdout()
      .split('\n')
      .map((line) => pattern.exec(line)?.[1])
      .filter((found) => found !== undefined);
  }
}

interface Counts {
  readonly main: number;
  readonly workers: number;
}

/** Collections so far. The main isolate is the first that collects: it has loaded the whole program before a worker exists. */
function countsOf(gateway: TracedGateway): Counts {
  const isolates = gateway.collections();
  const main = isolates.filter((isolate) => isolate === isolates[0]).length;
  return { main, workers: isolates.length - main };
}

/** Garbage collections while traffic flows, against a window of the same length without any. */
export async function collections(options: {
  readonly windowSeconds: number;
}): Promise<Omit<CollectionsSection, 'run'>> {
  const rows: CollectionsRow[] = [];
  const kinds: [string, ConfigurationChange][] = [['Isthmus', { tunnel: {} }]];
  if (rawSocketLacks() === undefined) kinds.push(['Isthmus on the package raw-socket', RAW_SOCKET.change]);
  for (const [name, change] of kinds)
    rows.push(...(await pathCollections(name, change, options.windowSeconds)));
  const traffic = `one TCP connection and ${UDP_PER_SECOND.toLocaleString('en')} small UDP packets a second`;
  return { windowSeconds: options.windowSeconds, traffic, rows };
}

async function pathCollections(
  name: string,
  change: ConfigurationChange,
  seconds: number,
): Promise<CollectionsRow[]> {
  const scene = await twoClusters();
  try {
    const gateways = [
      { gateway: new TracedGateway(scene.topology, scene.a.gateways[0]!), local: scene.a, remote: scene.b },
      { gateway: new TracedGateway(scene.topology, scene.b.gateways[0]!), local: scene.b, remote: scene.a },
    ];
    for (const { gateway, local, remote } of gateways) {
      gateway.configure(local, remote, change);
      gateway.start();
    }
    await Promise.all(gateways.map(({ gateway }) => gateway.ready()));
    const ends = await LocalEnds.open(scene, hasIperf());
    return await windows(
      name,
      ends,
      gateways.map(({ gateway }) => gateway),
      seconds,
    );
  } finally {
    await scene.topology.close();
  }
}

async function windows(
  name: string,
  ends: LocalEnds,
  gateways: readonly TracedGateway[],
  seconds: number,
): Promise<CollectionsRow[]> {
  await sleep(1000);
  const start = gateways.map(countsOf);
  await sleep(seconds * 1000);
  const idle = gateways.map((gateway, index) => difference(countsOf(gateway), start[index]!));
  say(`collections  ${name}: idle window done`);

  const ended = traffic(ends, WARM_UP_SECONDS + seconds + 2);
  await sleep(WARM_UP_SECONDS * 1000);
  // Asked outside of the window: an answer of the admin API is garbage too.
  const packets = await Promise.all(gateways.map(forwarded));
  await sleep(200);
  const warm = gateways.map((gateway) => ({
    counts: countsOf(gateway),
    deoptimisations: gateway.deoptimisations().length,
  }));
  await sleep(seconds * 1000);
  const rows = gateways.map((gateway, index): CollectionsRow => {
    const busy = difference(countsOf(gateway), warm[index]!.counts);
    return {
      path: name,
      gateway: gateway.machine.name,
      idleMain: idle[index]!.main,
      idleWorkers: idle[index]!.workers,
      trafficMain: busy.main,
      trafficWorkers: busy.workers,
      deoptimised: [...new Set(gateway.deoptimisations().slice(warm[index]!.deoptimisations))],
      packets: packets[index]!,
    };
  });
  const after = await Promise.all(gateways.map(forwarded));
  await ended;
  say(`collections  ${name}: traffic window done`);
  return rows.map((row, index) => ({ ...row, packets: after[index]! - row.packets }));
}

async function traffic(ends: LocalEnds, seconds: number): Promise<void> {
  await Promise.all([ends.datagrams(UDP_SIZE, UDP_PER_SECOND, seconds * 1000), ends.tcp(1, seconds)]).catch(
    (error: unknown) => {
      throw new Error(`the traffic ended early: ${messageOf(error)}`);
    },
  );
}

async function forwarded(gateway: TracedGateway): Promise<number> {
  const { outbound, inbound } = (await gateway.status()).traffic;
  return outbound.packets + inbound.packets;
}

function difference(now: Counts, before: Counts): Counts {
  return { main: now.main - before.main, workers: now.workers - before.workers };
}
