import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import type { RouteRow, Status } from '../../../src/admin/view.ts';
import type { Daemon } from '../../../src/measure/daemon.ts';
import { type Machine, poll, run, type Topology } from '../../../src/measure/topology.ts';
import type { ClusterMachines, GatewayMachine, TwoClusters } from '../../../src/measure/two-clusters.ts';

export const PROGRAM = fileURLToPath(new URL('../../../src/main.js', import.meta.url));
const READY_MS = 10_000;

/** A remote cluster as configuration and watched files write it. */
export interface ClusterEntry {
  readonly name: string;
  readonly cidrs: readonly string[];
  readonly gateways: readonly { readonly address: string; readonly weight?: number }[];
}

/** The parts of a configuration that a test changes; anything else takes its default. */
export interface ConfigurationChange {
  readonly cluster?: object;
  readonly underlay?: object;
  readonly tunnel?: object;
  readonly clusters?: readonly ClusterEntry[];
  readonly watch?: readonly object[];
  readonly services?: object;
  readonly security?: object;
  readonly routes?: object;
  readonly host?: object;
  readonly state?: object;
  readonly log?: object;
}

/** A real gateway: `isthmus run` with a configuration file of its own, in a machine's namespace. */
export class GatewayProcess {
  readonly machine: Machine;
  /** Configuration, watched file, state and admin socket. */
  readonly folder: string;
  readonly configurationFile: string;
  readonly watchedFile: string;
  readonly socket: string;
  #daemon: Daemon | undefined;

  constructor(topology: Topology, gateway: GatewayMachine) {
    this.machine = gateway.machine;
    this.folder = join(topology.folder, gateway.machine.name);
    mkdirSync(join(this.folder, 'state'), { recursive: true });
    this.configurationFile = join(this.folder, 'isthmus.yaml');
    this.watchedFile = join(this.folder, 'clusters.yaml');
    this.socket = join(this.folder, 'admin.sock');
  }

  /** Writes the configuration file: `local` is ours, `remote` the other cluster, `change` replaces sections of the rest. */
  configure(local: ClusterMachines, remote: ClusterMachines, change: ConfigurationChange = {}): void {
    const configuration = {
      cluster: { name: local.name, cidrs: [local.cidr] },
      tunnel: {},
      clusters: [entryOf(remote)],
      admin: { listen: `unix:${this.socket}` },
      state: { directory: join(this.folder, 'state') },
      ...change,
    };
    this.writeConfiguration(stringify(configuration));
  }

  /** Replaces the configuration file in one step, as careful editors do. */
  writeConfiguration(text: string): void {
    replaceFile(this.configurationFile, text);
  }

  /** Replaces the watched file in one step. */
  writeWatched(clusters: readonly ClusterEntry[]): void {
    replaceFile(this.watchedFile, stringify({ clusters }));
  }

  /** Replaces a file of the gateway's folder in one step. */
  write(name: string, text: string): void {
    replaceFile(join(this.folder, name), text);
  }

  start(environment: NodeJS.ProcessEnv = {}): void {
    this.#daemon = this.machine.start('isthmus run', this.commandLine(), environment);
  }

  commandLine(): string[] {
    return [process.execPath, '--enable-source-maps', PROGRAM, 'run', '-c', this.configurationFile];
  }

  /** Resolves when /readyz says so; rejects with the log when the gateway ends before, or at the deadline. */
  async ready(timeoutMs = READY_MS, intervalMs = 5): Promise<void> {
    try {
      await poll(
        `${this.machine.name} ready`,
        timeoutMs,
        async () => {
          if (!this.daemon.isRunning) throw new Error(`the gateway ended with ${await this.daemon.exited}`);
          return (
            existsSync(this.socket) &&
            (await this.#get('/readyz').then(
              (reply) => reply.status === 200,
              () => false,
            ))
          );
        },
        intervalMs,
      );
    } catch (error) {
      throw new Error(`${this.machine.name}: ${(error as Error).message}\n${this.daemon.log()}`);
    }
  }

  get daemon(): Daemon {
    if (this.#daemon === undefined) throw new Error(`${this.machine.name}: the gateway was not started`);
    return this.#daemon;
  }

  async status(): Promise<Status> {
    return (await this.api('/api/v1/status')) as Status;
  }

  /** The CIDRs of its routes. */
  async routes(): Promise<string[]> {
    return ((await this.api('/api/v1/routes')) as RouteRow[]).map((route) => route.cidr);
  }

  async readiness(): Promise<{ ready: boolean; reasons: string[]; httpStatus: number }> {
    const { status, text } = await this.#get('/readyz');
    return { ...(JSON.parse(text) as { ready: boolean; reasons: string[] }), httpStatus: status };
  }

  async api(path: string): Promise<unknown> {
    const reply = await this.#get(path);
    if (reply.status !== 200) throw new Error(`${path}: ${reply.status} ${reply.text}`);
    return JSON.parse(reply.text);
  }

  /** Samples of /metrics by name with labels, `isthmus_drops_total{direction="inbound",reason="not-local"}`. */
  async metrics(): Promise<Map<string, number>> {
    const { text } = await this.#get('/metrics');
    const samples = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    return new Map(
      samples.map((line) => {
        const space = line.lastIndexOf(' ');
        return [line.slice(0, space), Number(line.slice(space + 1))];
      }),
    );
  }

  /** What a command of the command line prints when it asks this gateway. */
  async command(...words: readonly string[]): Promise<string> {
    return run([process.execPath, PROGRAM, ...words, '--admin', `unix:${this.socket}`]);
  }

  async kill(signal: NodeJS.Signals): Promise<number | NodeJS.Signals> {
    return this.daemon.kill(signal);
  }

  #get(path: string): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const sent = request({ socketPath: this.socket, path, agent: false, timeout: 5000 }, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      });
      sent.on('timeout', () => sent.destroy(new Error(`${path}: no answer in 5 s`)));
      sent.on('error', reject);
      sent.end();
    });
  }
}

/** How the other side writes a cluster. */
export function entryOf(cluster: ClusterMachines): ClusterEntry {
  return {
    name: cluster.name,
    cidrs: [cluster.cidr],
    gateways: cluster.gateways.map((gateway) => ({ address: gateway.address })),
  };
}

function replaceFile(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

/** A scene with a running gateway on every gateway machine. */
export interface JoinedClusters extends TwoClusters {
  readonly gatewaysA: readonly GatewayProcess[];
  readonly gatewaysB: readonly GatewayProcess[];
  /** The first of each cluster. */
  readonly gwA: GatewayProcess;
  readonly gwB: GatewayProcess;
}

/** Starts a gateway on every gateway machine and waits until all are ready; `prepare` may do more before the start. */
export async function joinClusters(
  scene: TwoClusters,
  change: ConfigurationChange = {},
  prepare: (gateway: GatewayProcess, local: ClusterMachines, remote: ClusterMachines) => void = () => {},
): Promise<JoinedClusters> {
  const make = (local: ClusterMachines, remote: ClusterMachines): GatewayProcess[] =>
    local.gateways.map((machine) => {
      const gateway = new GatewayProcess(scene.topology, machine);
      gateway.configure(local, remote, change);
      prepare(gateway, local, remote);
      gateway.start();
      return gateway;
    });
  const gatewaysA = make(scene.a, scene.b);
  const gatewaysB = make(scene.b, scene.a);
  const joined = { ...scene, gatewaysA, gatewaysB, gwA: gatewaysA[0]!, gwB: gatewaysB[0]! };
  try {
    await Promise.all([...gatewaysA, ...gatewaysB].map((gateway) => gateway.ready()));
  } catch (error) {
    await scene.topology.close();
    throw error;
  }
  return joined;
}
