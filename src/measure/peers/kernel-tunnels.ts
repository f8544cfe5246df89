import { spawnSync } from 'node:child_process';
import { deviceTypeLacking } from './device-type.ts';
import {
  bothWays,
  IPV4_BYTES,
  type Recipe,
  type TunnelEnd,
  UDP_BYTES,
  UNDERLAY_MTU_BYTES,
} from './recipe.ts';

const GRE_BYTES = 4;
const FOU_PORT = 5555;
const IPIP_PROTOCOL = 4;

/** What `tunl0` of Calico is: the same packets on the wire as an Isthmus's. */
export const KERNEL_IPIP: Recipe = {
  name: 'kernel IPIP',
  kind: 'kernel',
  mtuBytes: UNDERLAY_MTU_BYTES - IPV4_BYTES,
  lacks: () => deviceTypeLacking('ipip', ['local', '127.0.0.1', 'remote', '127.0.0.2']),
  setUp: (a, b) => bothWays(a, b, (end) => ({ files: [], before: [linkLine(end, 'ipip')] })),
};

export const KERNEL_GRE: Recipe = {
  name: 'kernel GRE',
  kind: 'kernel',
  mtuBytes: UNDERLAY_MTU_BYTES - IPV4_BYTES - GRE_BYTES,
  lacks: () => deviceTypeLacking('gre', ['local', '127.0.0.1', 'remote', '127.0.0.2']),
  setUp: (a, b) => bothWays(a, b, (end) => ({ files: [], before: [linkLine(end, 'gre')] })),
};

/** IPIP in UDP: for underlays that let no protocol but TCP, UDP and ICMP through. */
export const KERNEL_FOU: Recipe = {
  name: 'kernel IPIP in FOU',
  kind: 'kernel',
  mtuBytes: UNDERLAY_MTU_BYTES - IPV4_BYTES - UDP_BYTES,
  lacks: () => KERNEL_IPIP.lacks() ?? fouLacking(),
  setUp: (a, b) =>
    bothWays(a, b, (end) => ({
      files: [],
      before: [
        `fou add port ${FOU_PORT} ipproto ${IPIP_PROTOCOL}`,
        `${linkLine(end, 'ipip')} encap fou encap-sport auto encap-dport ${FOU_PORT}`,
      ],
    })),
};

function linkLine(end: TunnelEnd, type: string): string {
  return `link add ${end.device} type ${type} local ${end.underlay} remote ${end.remoteUnderlay} ttl 64`;
}

function fouLacking(): string | undefined {
  const shown = spawnSync('ip', ['fou', 'show'], { encoding: 'utf8', timeout: 5000 });
  if (shown.status === 0) return undefined;
  const reason = (shown.stderr || shown.error?.message || 'no reason given').trim().replaceAll(/\s+/g, ' ');
  return `this kernel has no FOU: ${reason} (kernel module fou)`;
}
