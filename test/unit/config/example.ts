/** Every field once, with valid values that need no default. In the order of the schema. */
export const EVERY_FIELD = {
  cluster: { name: 'east', cidrs: ['10.1.0.0/16', '10.96.0.0/16'] },
  underlay: { address: '172.31.0.1', device: 'eth0' },
  tunnel: {
    device: 'isthmus0',
    address: 'none',
    mtu: 1400,
    mode: 'always',
    ttl: 'inherit',
    dscp: 46,
    ecn: 'compatibility',
    engine: 'userspace',
    workers: 2,
    underlaySocket: 'raw-socket',
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
      priority: -5,
      staleAfter: '1h30m',
      massWithdrawalHold: '500ms',
      pollInterval: '1s',
    },
  ],
  security: {
    decapsulateFrom: ['172.31.9.0/24', '172.31.0.7'],
    innerSource: 'loose',
    transit: ['west'],
  },
  routes: { table: 100, metric: 0, protocol: 99 },
  host: { checks: 'enforce' },
  admin: { listen: 'unix:/run/isthmus/admin.sock' },
  state: { directory: 'none' },
  log: { level: 'debug' },
} as const;

/** The least that a configuration needs. */
export const MINIMAL = 'cluster: {name: east, cidrs: [10.1.0.0/16]}\n';
