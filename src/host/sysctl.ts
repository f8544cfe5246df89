import { readFileSync, writeFileSync } from 'node:fs';

/** Something about the host that keeps packets from flowing, and the command that mends it. */
export interface HostProblem {
  readonly setting: string;
  readonly message: string;
  /** Forwarding cannot work at all while it lasts. */
  readonly isFatal: boolean;
}

/** Value of a sysctl in /proc/sys, or undefined where the kernel or the container does not show it. */
export function readSysctl(name: string): string | undefined {
  try {
    return readFileSync(sysctlPath(name), 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** Returns whether the value is set now; false where /proc/sys is read-only, as in most containers. */
export function writeSysctl(name: string, value: string): boolean {
  if (readSysctl(name) === value) return true;
  try {
    writeFileSync(sysctlPath(name), value);
    return true;
  } catch {
    return false;
  }
}

/** Device names may hold dots, so the parts are given with slashes: `net/ipv4/conf/isthmus0/rp_filter`. */
function sysctlPath(name: string): string {
  return `/proc/sys/${name}`;
}

/** The effective reverse-path filter of a device: the larger of its own and that of `all` (kernel documentation, ip-sysctl). */
function reversePathFilter(device: string): number {
  const own = Number(readSysctl(`net/ipv4/conf/${device}/rp_filter`) ?? 0);
  const all = Number(readSysctl('net/ipv4/conf/all/rp_filter') ?? 0);
  return Math.max(own, all);
}

const STRICT = 1;

/**
 * Loose (2) on our own device is enough for replies that leave by another gateway, and for a peer that tunnels to us while we send to it
 * past the tunnel. Strict on the underlay device is no concern of a tunnel whose outer packets are routed symmetrically.
 */
export function prepareDeviceSysctls(device: string): HostProblem[] {
  const problems: HostProblem[] = [];
  // The kernel would send router solicitations and multicast reports into a tunnel that has nobody to answer them. Not where a predecessor
  // let IPv6 in: that would take its routes away, which bear traffic.
  if (readSysctl(`net/ipv6/conf/${device}/${ADDRESS_MODE}`) !== NO_LINK_LOCAL)
    writeSysctl(`net/ipv6/conf/${device}/disable_ipv6`, '1');
  if (!writeSysctl(`net/ipv4/conf/${device}/rp_filter`, '2')) {
    if (reversePathFilter(device) === STRICT) {
      problems.push({
        setting: 'rp_filter',
        message: `net.ipv4.conf.${device}.rp_filter is strict and cannot be changed from here: packets whose replies take another gateway are dropped; run: sysctl -w net.ipv4.conf.${device}.rp_filter=2`,
        isFatal: false,
      });
    }
  }
  return problems;
}

const ADDRESS_MODE = 'addr_gen_mode';
/** IN6_ADDR_GEN_MODE_NONE of linux/if_link.h: without a link-local address the kernel solicits no routers. */
const NO_LINK_LOCAL = '1';

/** Lets the device have routes of IPv6. A kernel that refuses them all the same says why, in the problem of the routes. */
export function admitIpv6(device: string): void {
  writeSysctl(`net/ipv6/conf/${device}/${ADDRESS_MODE}`, NO_LINK_LOCAL);
  writeSysctl(`net/ipv6/conf/${device}/disable_ipv6`, '0');
}

/** What must hold for the host to forward between its pods and the tunnel. */
export function checkForwarding(device: string, needsIpv6: boolean): HostProblem[] {
  const problems: HostProblem[] = [];
  const forwarding = readSysctl(`net/ipv4/conf/${device}/forwarding`) ?? readSysctl('net/ipv4/ip_forward');
  if (readSysctl('net/ipv4/ip_forward') === '0' || forwarding === '0') {
    problems.push({
      setting: 'ip_forward',
      message: `the kernel does not forward: net.ipv4.ip_forward or net.ipv4.conf.${device}.forwarding is 0, so no pod reaches the tunnel; run: sysctl -w net.ipv4.ip_forward=1`,
      isFatal: true,
    });
  }
  // The setting of a device counts for nothing: the kernel forwards IPv6 by that of `all` (ip6_forward of net/ipv6/ip6_output.c).
  if (needsIpv6 && readSysctl('net/ipv6/conf/all/forwarding') === '0') {
    problems.push({
      setting: 'ipv6_forwarding',
      message:
        'the kernel does not forward IPv6: net.ipv6.conf.all.forwarding is 0, so no IPv6 of a pod reaches the tunnel; run: sysctl -w net.ipv6.conf.all.forwarding=1',
      isFatal: false,
    });
  }
  return problems;
}

/**
 * A gateway on our segment may send packets of `mixed` past the tunnel while ours to it take the tunnel: a strict filter on the underlay
 * device drops them, because the way back to their source is the tunnel's device. It is not ours to change: the host has it for a reason.
 */
export function checkDirectReversePath(underlayDevice: string, mixed: string | undefined): HostProblem[] {
  if (mixed === undefined || reversePathFilter(underlayDevice) !== STRICT) return [];
  const message = `some gateways of ${mixed} are on the segment of ${underlayDevice} and some are not, so our packets for it take the tunnel; those on the segment may answer past it, and net.ipv4.conf.${underlayDevice}.rp_filter or that of all is strict and drops that; run: sysctl -w net.ipv4.conf.${underlayDevice}.rp_filter=2`;
  return [{ setting: 'rp_filter', message, isFatal: false }];
}
