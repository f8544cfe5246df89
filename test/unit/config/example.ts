import type { SchemaField } from '../../../src/config/schema-walk.ts';

const EVERY_SOURCE = { priority: -5, staleAfter: '1h30m', massWithdrawalHold: '500ms' } as const;

/** Every field once for each kind that has it, with valid values that need no default. In the order of the schema. */
export const EVERY_FIELD = {
  cluster: { name: 'east', cidrs: ['10.1.0.0/16', '10.96.0.0/16'], gateway: 'gw-1' },
  underlay: { address: '172.31.0.1', family: 'ipv4', device: 'eth0' },
  tunnel: {
    device: 'isthmus0',
    address: 'none',
    mtu: 1400,
    encapsulation: 'fou',
    fouPort: 5556,
    fouPeers: [{ address: '172.31.0.2', port: 5557 }],
    mode: 'cross-subnet',
    gatewayGrace: '1m',
    ttl: 'inherit',
    dscp: 46,
    ecn: 'compatibility',
    engine: 'userspace',
    workers: 2,
    busyPoll: '3ms',
    underlaySocket: 'raw-socket',
    // Nothing else goes with raw-socket.
    transmit: 'raw',
    fragment: 'outer',
    clampMss: false,
    keepOnExit: true,
    receiveBuffer: '1MiB',
    sendBuffer: 100_000,
    queueLength: 1000,
  },
  clusters: [{ name: 'west', cidrs: ['10.2.0.0/16'], gateways: [{ address: '172.31.0.2', weight: 3 }] }],
  watch: [
    {
      kind: 'file',
      path: 'clusters.d/',
      ...EVERY_SOURCE,
      pollInterval: '1s',
    },
    {
      kind: 'kubernetes',
      cluster: 'west',
      kubeconfig: 'west.kubeconfig',
      context: 'reader',
      gateways: 'role=edge,!spot',
      serviceCidrs: ['10.98.0.0/16'],
      pods: false,
      addressType: 'ExternalIP',
      remoteClusters: false,
      ...EVERY_SOURCE,
    },
    {
      kind: 'calico',
      cluster: 'north',
      datastore: 'etcd',
      kubeconfig: 'north.kubeconfig',
      context: 'reader',
      endpoints: ['https://172.31.0.9:2379'],
      username: 'reader',
      passwordFile: 'password',
      caFile: 'ca.pem',
      certFile: 'client.pem',
      keyFile: 'client.key',
      aggregate: 'block',
      gateways: 'all',
      ...EVERY_SOURCE,
    },
    {
      kind: 'cilium',
      cluster: 'south',
      kubeconfig: 'south.kubeconfig',
      context: 'current',
      gateways: 'objects',
      ...EVERY_SOURCE,
    },
    {
      kind: 'etcd',
      endpoints: ['http://172.31.0.9:2379'],
      username: 'none',
      passwordFile: 'none',
      caFile: 'none',
      certFile: 'none',
      keyFile: 'none',
      prefix: '/fleet/',
      register: false,
      leaseTime: '5s',
      weight: 2,
      ...EVERY_SOURCE,
    },
    {
      kind: 'kernel-routes',
      cluster: 'far',
      table: 100,
      protocols: ['bird', 77],
      within: ['10.9.0.0/16'],
      via: [{ address: '172.31.0.8', weight: 0 }],
      ...EVERY_SOURCE,
    },
  ],
  security: {
    decapsulateFrom: ['172.31.9.0/24', '172.31.0.7'],
    innerSource: 'loose',
    protect: ['172.31.8.0/24', '10.250.0.1'],
    transit: ['west'],
  },
  services: { cidrs: ['10.96.0.0/16'], masquerade: 'never', keepSource: true },
  routes: { table: 100, metric: 0, protocol: 99 },
  host: { checks: 'enforce' },
  health: {
    probes: 'required',
    interval: '100ms',
    deadAfter: '3s',
    hold: '1m',
    allDead: 'fail-open',
    pathMtu: false,
  },
  admin: { listen: 'unix:/run/isthmus/admin.sock' },
  state: { directory: 'none' },
  log: { level: 'debug' },
} as const;

/** The least that a configuration needs. */
export const MINIMAL = 'cluster: {name: east, cidrs: [10.1.0.0/16]}\n';

/** `clusters[].name` as the path of the first such field in EVERY_FIELD: of a source, in the first of a kind that has it. */
export function stepsOf({ path, kinds }: Pick<SchemaField, 'path' | 'kinds'>): (string | number)[] {
  const index = EVERY_FIELD.watch.findIndex(({ kind }) => kind === kinds[0]);
  let lists = 0;
  return path
    .replaceAll('[]', '.[]')
    .split('.')
    .map((step) => (step !== '[]' ? step : kinds.length > 0 && lists++ === 0 ? index : 0));
}
