import { assert } from '../../base/assert.ts';
import type { WatchEnvironment } from '../environment.ts';
import type { EtcdAccess } from '../etcd-api/access.ts';
import { EtcdApi } from '../etcd-api/api.ts';
import type { Project } from '../etcd-api/mirror.ts';
import { EtcdStream } from '../etcd-api/stream.ts';
import { type Connect, connectToApi, type Projection } from '../kubernetes/connection.ts';
import type { KubernetesAccess } from '../kubernetes-api/access.ts';
import type { Resource } from '../kubernetes-api/resource.ts';
import type { Malformed } from '../last-good.ts';
import { TUNNEL_GATEWAYS, type TunnelGateway, tunnelGatewayOf } from '../node-gateways.ts';
import { wellFormed } from '../object-fields.ts';
import type { ObjectStream } from '../store-event.ts';
import type { StreamState } from '../stream-state.ts';
import { EitherGroup } from './either-group.ts';
import {
  type Block,
  blockOf,
  blockOfKey,
  type CalicoNode,
  etcdNodeOf,
  jsonOf,
  type NodeReading,
  nodeOf,
  type Pool,
  poolOf,
} from './objects.ts';

/** Where Calico keeps its objects. */
export type CalicoDatastore =
  | { readonly kind: 'kubernetes'; readonly api: KubernetesAccess }
  | { readonly kind: 'etcd'; readonly access: EtcdAccess };

/** An open datastore. Each method opens a list-watch. */
export interface CalicoSource {
  readonly server: string;
  /** What stands before the name of a node in the keys of `nodes`. */
  readonly nodeKeys: string;
  pools(): ObjectStream<Pool | Malformed>;
  blocks(): ObjectStream<Block | Malformed>;
  nodes(reading: NodeReading): ObjectStream<CalicoNode | Malformed>;
  tunnelGateways(ownCluster: string): ObjectStream<TunnelGateway | Malformed>;
  close(): void;
}

/** The order is that of preference: where both are served, the second is Calico's API server in front of the first. */
const GROUPS = [
  { group: 'crd.projectcalico.org', version: 'v1' },
  { group: 'projectcalico.org', version: 'v3' },
];
const NODES: Resource = { group: '', version: 'v1', plural: 'nodes' };

/** CRDs and Nodes of a Kubernetes API server. */
export function openKubernetes(
  source: string,
  access: KubernetesAccess,
  environment: WatchEnvironment,
  connect: Connect = connectToApi,
): CalicoSource {
  const connection = connect(source, access, environment);
  const either = <T>(plural: string, project: Projection<T>): ObjectStream<T> =>
    new EitherGroup(
      GROUPS.map((group) => () => connection.stream({ ...group, plural }, project)),
      environment.clock,
    );
  return {
    get server() {
      return connection.server;
    },
    nodeKeys: '',
    pools: () => either('ippools', (object) => poolOf(object, object.metadata.name)),
    blocks: () => either('blockaffinities', (object) => blockOf(object, object.metadata.name)),
    nodes: (reading) => connection.stream(NODES, (object) => nodeOf(object, object.metadata.name, reading)),
    tunnelGateways: (ownCluster) =>
      connection.stream(TUNNEL_GATEWAYS, (object) =>
        tunnelGatewayOf(object, object.metadata.name, ownCluster, environment.family),
      ),
    close: () => connection.close(),
  };
}

const RESOURCES = '/calico/resources/v3/projectcalico.org/';
const POOLS = `${RESOURCES}ippools/`;
const ETCD_NODES = `${RESOURCES}nodes/`;
const BLOCKS = '/calico/ipam/v2/host/';

/** Calico's own keys in etcd v3. */
export function openEtcd(source: string, access: EtcdAccess, environment: WatchEnvironment): CalicoSource {
  const { clock, logger, random, streams } = environment;
  const api = new EtcdApi(access, { clock });
  const states: StreamState[] = [];
  const stream = <T>(prefix: string, project: Project<T>): ObjectStream<T> => {
    const state = streams.open(source, prefix);
    states.push(state);
    return new EtcdStream({ api, prefix, project, stream: state, clock, logger, random });
  };
  /** Of resources that are JSON objects, with their names behind the prefix. */
  const resources = <T extends object | undefined>(
    prefix: string,
    read: (object: unknown, name: string) => T | Malformed,
  ): ObjectStream<NonNullable<T> | Malformed> =>
    stream(prefix, (key, value) => {
      const name = key.slice(prefix.length);
      return wellFormed(key, () => read(jsonOf(value), name)) ?? undefined;
    });
  return {
    get server() {
      return api.server;
    },
    nodeKeys: ETCD_NODES,
    pools: () => resources(POOLS, poolOf),
    blocks: () => stream(BLOCKS, blockOfKey),
    nodes: (reading) => resources(ETCD_NODES, (object, name) => etcdNodeOf(object, name, reading)),
    tunnelGateways() {
      assert(false, 'the constructor of the watcher refuses to look for TunnelGateway objects in etcd');
    },
    close() {
      for (const state of states) streams.close(state);
      api.close();
    },
  };
}
