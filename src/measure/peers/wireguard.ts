import { generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import { deviceTypeLacking } from './device-type.ts';
import {
  type EndSetup,
  firstLacking,
  IPV4_BYTES,
  type Recipe,
  type TunnelEnd,
  UDP_BYTES,
  UNDERLAY_MTU_BYTES,
} from './recipe.ts';

/** Type, receiver and counter before each packet, and the tag behind it. */
const DATA_MESSAGE_BYTES = 16 + 16;
/**
 * 1,440: the usual 1,420 leaves room for an IPv6 underlay. It is a multiple of 16, so that the padding of WireGuard does not make the
 * largest packets larger.
 */
const MTU_BYTES = UNDERLAY_MTU_BYTES - IPV4_BYTES - UDP_BYTES - DATA_MESSAGE_BYTES;
const PORT = 51_820;

/** The last 32 bytes of the DER forms are the raw keys (RFC 8410). */
const KEY_BYTES = 32;

/** The implementation in Go. Its control socket lies in a folder that all machines of a sandbox share, hence the unique device names. */
export const WIREGUARD_GO: Recipe = {
  name: 'wireguard-go (encrypted)',
  kind: 'peer',
  mtuBytes: MTU_BYTES,
  lacks: () => firstLacking(['wireguard-go', 'wireguard-go'], ['wg', 'wireguard-tools']),
  setUp: (a, b) =>
    withKeys(a, b, (end) => ({
      daemon: ['wireguard-go', '--foreground', end.device],
      environment: { LOG_LEVEL: 'error' },
    })),
};

export const KERNEL_WIREGUARD: Recipe = {
  name: 'kernel WireGuard (encrypted)',
  kind: 'kernel',
  mtuBytes: MTU_BYTES,
  lacks: () => firstLacking(['wg', 'wireguard-tools']) ?? deviceTypeLacking('wireguard'),
  setUp: (a, b) => withKeys(a, b, (end) => ({ before: [`link add ${end.device} type wireguard`] })),
};

type Rest = Pick<EndSetup, 'before' | 'daemon' | 'environment'>;

function withKeys(a: TunnelEnd, b: TunnelEnd, rest: (end: TunnelEnd) => Rest): [EndSetup, EndSetup] {
  const keys = { a: wireguardKeys(), b: wireguardKeys() };
  const setUpOf = (end: TunnelEnd, other: TunnelEnd): EndSetup => ({
    ...rest(end),
    files: [
      {
        path: 'wg.conf',
        text: wireguardConfiguration(end, keys[end.name].privateKey, keys[other.name].publicKey),
      },
    ],
    configure: ['wg', 'setconf', end.device, join(end.folder, 'wg.conf')],
  });
  return [setUpOf(a, b), setUpOf(b, a)];
}

export function wireguardConfiguration(end: TunnelEnd, privateKey: string, remoteKey: string): string {
  return [
    '[Interface]',
    `PrivateKey = ${privateKey}`,
    `ListenPort = ${PORT}`,
    '[Peer]',
    `PublicKey = ${remoteKey}`,
    `AllowedIPs = ${end.remoteCidr}`,
    `Endpoint = ${end.remoteUnderlay}:${PORT}`,
    '',
  ].join('\n');
}

/** In base64, as `wg` reads them; X25519 of Node clamps the private key as WireGuard does. */
function wireguardKeys(): { readonly publicKey: string; readonly privateKey: string } {
  const { publicKey, privateKey } = generateKeyPairSync('x25519');
  return {
    publicKey: publicKey.export({ type: 'spki', format: 'der' }).subarray(-KEY_BYTES).toString('base64'),
    privateKey: privateKey.export({ type: 'pkcs8', format: 'der' }).subarray(-KEY_BYTES).toString('base64'),
  };
}
