import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import type { Daemon } from './daemon.ts';
import { type Machine, poll, type Topology } from './topology.ts';
import type { ClusterMachines, GatewayMachine, TwoClusters } from './two-clusters.ts';

/** The program of this installation. */
export const PROGRAM = fileURLToPath(new URL('../main.js', import.meta.url));
const READY_MS = 10_000;

/** A remote cluster as configuration and watched files write it. */
export interface ClusterEntry {
  readonly name: string;
  readonly cidrs: readonly string[];
  readonly gateways: readonly { readonly address: string; readonly weight?: number }[];
}

/** The parts of a configuration that differ from the usual; anything else takes its default. */
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
  readonly health?: object;
  readonly state?: object;
  readonly log?: object;
}

/** A real gateway: the shipped `isthmus run` with a configuration file of its own, in a machine's namespace. */
export class ShippedGateway {
  readonly machine: Machine;
  /** Configuration, state and admin socket. */
  readonly folder: string;
  readonly configurationFile: string;
  readonly socket: string;
  #daemon: Daemon | undefined;

  constructor(topology: Topology, gateway: GatewayMachine) {
    this.machine = gateway.machine;
    this.folder = join(topology.folder, gateway.machine.name);
    mkdirSync(join(this.folder, 'state'), { recursive: true });
    this.configurationFile = join(this.folder, 'isthmus.yaml');
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

  start(environment: NodeJS.ProcessEnv = {}): void {
    this.#daemon = this.machine.start('isthmus run', this.commandLine(), environment);
  }

  commandLine(): string[] {
    return [process.execPath, '--enable-source-maps', PROGRAM, 'run', '-c', this.configurationFile];
  }

  /** Resolves when /readyz says so; rejects with the log when the gateway ends before, or at the deadline. */
  async ready(timeoutMs = READY_MS, intervalMs = 5): Promise<void> {
    const probe = async (): Promise<boolean> => {
      if (!this.daemon.isRunning) throw new Error(`the gateway ended with ${await this.daemon.exited}`);
      if (!existsSync(this.socket)) return false;
      return this.get('/readyz').then(
        (reply) => reply.status === 200,
        () => false,
      );
    };
    try {
      await poll(`${this.machine.name} ready`, timeoutMs, probe, intervalMs);
    } catch (error) {
      throw new Error(`${this.machine.name}: ${(error as Error).message}\n${this.daemon.log()}`);
    }
  }

  get daemon(): Daemon {
    if (this.#daemon === undefined) throw new Error(`${this.machine.name}: the gateway was not started`);
    return this.#daemon;
  }

  async kill(signal: NodeJS.Signals): Promise<number | NodeJS.Signals> {
    return this.daemon.kill(signal);
  }

  /** Asks the admin API over its unix socket. */
  get(path: string): Promise<{ status: number; text: string }> {
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

/** Replaces a file in one step. */
export function replaceFile(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

/** Starts a gateway on the first gateway machine of each cluster and waits until both are ready. */
export async function startGateways(scene: TwoClusters, change: ConfigurationChange): Promise<void> {
  const gateways = [
    { local: scene.a, remote: scene.b },
    { local: scene.b, remote: scene.a },
  ].map(({ local, remote }) => {
    const gateway = new ShippedGateway(scene.topology, local.gateways[0]!);
    gateway.configure(local, remote, change);
    gateway.start();
    return gateway;
  });
  await Promise.all(gateways.map((gateway) => gateway.ready()));
}
