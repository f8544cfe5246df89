import { join } from 'node:path';
import {
  bothWays,
  firstLacking,
  IPV4_BYTES,
  QUEUE_LENGTH,
  type Recipe,
  SOCKET_BUFFER_BYTES,
  type TunnelEnd,
  UDP_BYTES,
  UNDERLAY_MTU_BYTES,
} from './recipe.ts';

/** A point-to-point tunnel without TLS, key, cipher and digest adds nothing but IP and UDP headers. */
const MTU_BYTES = UNDERLAY_MTU_BYTES - IPV4_BYTES - UDP_BYTES;
const PORT = 1194;

export const OPENVPN: Recipe = {
  name: 'OpenVPN without cipher',
  kind: 'peer',
  mtuBytes: MTU_BYTES,
  lacks: () => firstLacking(['openvpn', 'openvpn']),
  setUp: (a, b) =>
    bothWays(a, b, (end) => ({
      files: [{ path: 'openvpn.conf', text: openvpnConfiguration(end) }],
      daemon: ['openvpn', '--config', join(end.folder, 'openvpn.conf')],
    })),
};

/** Without secret or TLS, OpenVPN needs no `allow-deprecated-insecure-static-crypto`: that is for tunnels with a static key. */
export function openvpnConfiguration(end: TunnelEnd): string {
  return [
    'mode p2p',
    `dev ${end.device}`,
    'dev-type tun',
    'proto udp4',
    `local ${end.underlay}`,
    `remote ${end.remoteUnderlay}`,
    `port ${PORT}`,
    'cipher none',
    'auth none',
    `tun-mtu ${MTU_BYTES}`,
    // The device's MTU and ICMP tell senders what fits, as on every other path; clamping would be extra work.
    'mssfix 0',
    `txqueuelen ${QUEUE_LENGTH}`,
    `sndbuf ${SOCKET_BUFFER_BYTES}`,
    `rcvbuf ${SOCKET_BUFFER_BYTES}`,
    // Saves a poll before each write to a TUN or UDP descriptor.
    'fast-io',
    // The kernel module encrypts always; where it is loaded it would not be used without keys either.
    'disable-dco',
    'verb 1',
    '',
  ].join('\n');
}
