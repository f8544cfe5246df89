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

/**
 * The effective reverse-path filter of a device is the larger of its own and that of `all` (kernel documentation, ip-sysctl). Loose (2) on
 * our own device is enough for replies that leave by another gateway; strict on the underlay device is no concern of a tunnel whose
 * outer packets are routed symmetrically.
 */
export function prepareDeviceSysctls(device: string): HostProblem[] {
  const problems: HostProblem[] = [];
  // The kernel would send IPv6 router solicitations and multicast reports into a tunnel that carries IPv4.
  writeSysctl(`net/ipv6/conf/${device}/disable_ipv6`, '1');
  if (!writeSysctl(`net/ipv4/conf/${device}/rp_filter`, '2')) {
    const own = Number(readSysctl(`net/ipv4/conf/${device}/rp_filter`) ?? 0);
    const all = Number(readSysctl('net/ipv4/conf/all/rp_filter') ?? 0);
    if (Math.max(own, all) === 1) {
      problems.push({
        setting: 'rp_filter',
        message: `net.ipv4.conf.${device}.rp_filter is strict and cannot be changed from here: packets whose replies take another gateway are dropped; run: sysctl -w net.ipv4.conf.${device}.rp_filter=2`,
        isFatal: false,
      });
    }
  }
  return problems;
}

/** What must hold for the host to forward between its pods and the tunnel. */
export function checkForwarding(device: string): HostProblem[] {
  const problems: HostProblem[] = [];
  const forwarding = readSysctl(`net/ipv4/conf/${device}/forwarding`) ?? readSysctl('net/ipv4/ip_forward');
  if (readSysctl('net/ipv4/ip_forward') === '0' || forwarding === '0') {
    problems.push({
      setting: 'ip_forward',
      message: `the kernel does not forward: net.ipv4.ip_forward or net.ipv4.conf.${device}.forwarding is 0, so no pod reaches the tunnel; run: sysctl -w net.ipv4.ip_forward=1`,
      isFatal: true,
    });
  }
  return problems;
}
