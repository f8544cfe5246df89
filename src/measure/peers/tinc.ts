import { generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import {
  type EndSetup,
  firstLacking,
  IPV4_BYTES,
  type Recipe,
  SOCKET_BUFFER_BYTES,
  type TunnelEnd,
  UDP_BYTES,
  UNDERLAY_MTU_BYTES,
} from './recipe.ts';

const SEQUENCE_BYTES = 4;
/** In router mode, too, tinc 1.0 carries an Ethernet header before each packet. */
const ETHERNET_BYTES = 14;
const MTU_BYTES = UNDERLAY_MTU_BYTES - IPV4_BYTES - UDP_BYTES - SEQUENCE_BYTES - ETHERNET_BYTES;

/** Of the connection over which the two agree; what OpenSSL's default security level asks for. */
const RSA_BITS = 2048;

export const TINC: Recipe = {
  name: 'tinc without cipher',
  kind: 'peer',
  mtuBytes: MTU_BYTES,
  lacks: () => firstLacking(['tincd', 'tinc']),
  setUp: (a, b) => {
    const keys = { a: rsaKeys(), b: rsaKeys() };
    const hosts = [a, b].map((end) => ({
      path: `hosts/${end.name}`,
      text: `${tincHost(end)}${keys[end.name].publicKey}`,
    }));
    const setUpOf = (end: TunnelEnd): EndSetup => ({
      files: [
        { path: 'tinc.conf', text: tincConfiguration(end) },
        { path: 'rsa_key.priv', text: keys[end.name].privateKey },
        ...hosts,
      ],
      daemon: ['tincd', '-D', '-c', end.folder, `--pidfile=${join(end.folder, 'pid')}`],
    });
    return [setUpOf(a), setUpOf(b)];
  },
};

/** PKCS #1, which is what tinc 1.0 reads; written here because `tincd -K` asks questions. */
function rsaKeys(): { readonly publicKey: string; readonly privateKey: string } {
  return generateKeyPairSync('rsa', {
    modulusLength: RSA_BITS,
    publicKeyEncoding: { type: 'pkcs1', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
  });
}

export function tincConfiguration(end: TunnelEnd): string {
  const lines = [
    `Name = ${end.name}`,
    'AddressFamily = ipv4',
    'DeviceType = tun',
    `Interface = ${end.device}`,
    'Mode = router',
    `BindToAddress = ${end.underlay}`,
    `UDPRcvBuf = ${SOCKET_BUFFER_BYTES}`,
    `UDPSndBuf = ${SOCKET_BUFFER_BYTES}`,
  ];
  // One of the two is enough; if both connected, one connection would be ended again while packets flow already.
  if (end.name === 'a') lines.push('ConnectTo = b');
  return `${lines.join('\n')}\n`;
}

export function tincHost(end: TunnelEnd): string {
  return [
    `Address = ${end.underlay}`,
    `Subnet = ${end.localCidr}`,
    'Cipher = none',
    'Digest = none',
    'MACLength = 0',
    'Compression = 0',
    // Until discovery is done, large packets go over the TCP connection; the device's MTU says already what fits.
    'PMTUDiscovery = no',
    'ClampMSS = no',
    '',
  ].join('\n');
}
