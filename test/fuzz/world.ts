import { isCidr4, parseAddress, parseCidr4 } from '../../src/base/address.ts';
import { Fib, type FibSettings } from '../../src/fib/fib.ts';
import { type Model, publishRoutes } from '../sim/oracle/model.ts';
import { LearnedPaths } from '../sim/oracle/path-mtu.ts';
import { NORTH, OURS, SETTINGS, STRANGER, WEST_1, WEST_2 } from '../unit/dataplane/rig.ts';

/** Addresses that decide something: ours and remote pods, all ends of tunnels, what no network has. */
export const ADDRESSES: readonly number[] = [
  ...['10.1.0.5', '10.1.7.9', '10.2.0.5', '10.2.200.5', '10.3.0.5', '10.1.0.1', '192.0.2.1'].map(
    parseAddress,
  ),
  ...[OURS, WEST_1, WEST_2, NORTH, STRANGER],
  ...['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255'].map(parseAddress),
];

const LOCAL = [parseCidr4('10.1.0.0/16')];

function route(cidr: string, cluster: string, ...gateways: number[]) {
  return {
    cidr: parseCidr4(cidr),
    cluster,
    gateways: gateways.map((address) => ({ address, weight: 1 })),
  };
}

const ROUTES = [
  route('10.2.0.0/16', 'west', WEST_1),
  route('10.2.200.0/24', 'west', WEST_1, WEST_2),
  route('10.3.0.0/16', 'north', NORTH),
  // An overlay that contains the underlay, by which a packet may be on its way to a gateway.
  route('172.31.0.0/24', 'west', WEST_1),
];

interface Choice {
  readonly settings: Partial<FibSettings>;
  /** What was learned of the path to WEST_1; 0: nothing. */
  readonly pathMtuBytes: number;
  /** Gateways that are not in use. */
  readonly dead?: readonly number[];
}

const CHOICES: readonly Choice[] = [
  { settings: {}, pathMtuBytes: 0 },
  {
    settings: {
      ...{
        innerSource: 'loose',
        transit: ['north'],
        ecn: 'compatibility',
        tunnelAddress: parseAddress('10.1.0.1'),
      },
      allowedSources: [parseCidr4('198.51.100.0/24')],
    },
    pathMtuBytes: 0,
  },
  { settings: { innerSource: 'off', ttl: 'inherit', dscp: 46, linkMtuBytes: 1400 }, pathMtuBytes: 900 },
  { settings: { fragment: 'outer', clampMss: false, dscp: 0 }, pathMtuBytes: 596 },
  { settings: { fragment: 'outer', linkMtuBytes: 9000 }, pathMtuBytes: 1006, dead: [NORTH, WEST_2] },
];

/** The same forwarding table twice: as the image that the packet path reads, and as the lists that the oracle searches. */
export interface Variant {
  readonly fib: Fib;
  readonly model: Model;
}

class GivenPaths extends LearnedPaths {
  readonly #pathMtuBytes: number;

  constructor(pathMtuBytes: number) {
    super();
    this.#pathMtuBytes = pathMtuBytes;
  }

  override bytesOf(peer: number): number {
    return peer === WEST_1 ? this.#pathMtuBytes : 0;
  }
}

export function variants(): Variant[] {
  return CHOICES.map(({ settings: change, pathMtuBytes, dead = [] }) => {
    const settings = { ...SETTINGS, ...change };
    const fib = new Fib({ capacityBytes: 1 << 20 });
    fib.setLocal(LOCAL);
    fib.configure(settings);
    fib.replace(ROUTES);
    fib.setPeer(WEST_1, { pathMtuBytes });
    for (const address of dead) fib.setPeer(address, { alive: false });
    const { deviceMtuBytes: _, tunnelAddress, ...rest } = settings;
    const model: Model = {
      settings: {
        ...rest,
        source: Number(rest.source),
        allowedSources: rest.allowedSources.filter(isCidr4),
        tunnelAddress: tunnelAddress === 0 ? null : tunnelAddress,
      },
      local: LOCAL,
      routes: [],
      peers: new Map(),
      paths: new GivenPaths(pathMtuBytes),
    };
    publishRoutes(model, ROUTES);
    for (const address of dead) model.peers.get(address)!.alive = false;
    return { fib, model };
  });
}
