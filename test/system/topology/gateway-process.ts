import { join } from 'node:path';
import { stringify } from 'yaml';
import type { RouteRow, Status } from '../../../src/admin/view.ts';
import {
  type ClusterEntry,
  type ConfigurationChange,
  PROGRAM,
  replaceFile,
  ShippedGateway,
} from '../../../src/measure/shipped-gateway.ts';
import { run, type Topology } from '../../../src/measure/topology.ts';
import type { ClusterMachines, GatewayMachine, TwoClusters } from '../../../src/measure/two-clusters.ts';

/** A gateway that tests look into, and whose files they change. */
export class GatewayProcess extends ShippedGateway {
  readonly watchedFile: string;

  constructor(topology: Topology, gateway: GatewayMachine) {
    super(topology, gateway);
    this.watchedFile = join(this.folder, 'clusters.yaml');
  }

  /** Replaces the watched file in one step. */
  writeWatched(clusters: readonly ClusterEntry[]): void {
    replaceFile(this.watchedFile, stringify({ clusters }));
  }

  /** Replaces a file of the gateway's folder in one step. */
  write(name: string, text: string): void {
    replaceFile(join(this.folder, name), text);
  }

  async status(): Promise<Status> {
    return (await this.api('/api/v1/status')) as Status;
  }

  /** The CIDRs of its routes. */
  async routes(): Promise<string[]> {
    return ((await this.api('/api/v1/routes')) as RouteRow[]).map((route) => route.cidr);
  }

  async readiness(): Promise<{ ready: boolean; reasons: string[]; httpStatus: number }> {
    const { status, text } = await this.get('/readyz');
    return { ...(JSON.parse(text) as { ready: boolean; reasons: string[] }), httpStatus: status };
  }

  async api(path: string): Promise<unknown> {
    const reply = await this.get(path);
    if (reply.status !== 200) throw new Error(`${path}: ${reply.status} ${reply.text}`);
    return JSON.parse(reply.text);
  }

  /** Samples of /metrics by name with labels, `isthmus_drops_total{direction="inbound",reason="not-local"}`. */
  async metrics(): Promise<Map<string, number>> {
    const { text } = await this.get('/metrics');
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
