import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { test } from 'node:test';
import { KERNEL_FOU, KERNEL_GRE, KERNEL_IPIP } from '../../../../src/measure/peers/kernel-tunnels.ts';
import { OPENVPN } from '../../../../src/measure/peers/openvpn.ts';
import type { EndSetup, Recipe, TunnelEnd } from '../../../../src/measure/peers/recipe.ts';
import { RECIPES } from '../../../../src/measure/peers/recipes.ts';
import { SOCAT } from '../../../../src/measure/peers/socat.ts';
import { TINC } from '../../../../src/measure/peers/tinc.ts';
import { KERNEL_WIREGUARD, WIREGUARD_GO } from '../../../../src/measure/peers/wireguard.ts';

const A: TunnelEnd = {
  name: 'a',
  underlay: '172.31.1.2',
  remoteUnderlay: '172.31.2.2',
  localCidr: '10.1.0.0/16',
  remoteCidr: '10.2.0.0/16',
  device: 'tun-a',
  folder: '/run/bench/a',
};
const B: TunnelEnd = {
  name: 'b',
  underlay: A.remoteUnderlay,
  remoteUnderlay: A.underlay,
  localCidr: A.remoteCidr,
  remoteCidr: A.localCidr,
  device: 'tun-b',
  folder: '/run/bench/b',
};

function fileOf(setup: EndSetup, path: string): string {
  const found = setup.files.find((file) => file.path === path);
  assert.ok(found, `${path} is written`);
  return found.text;
}

/** The value of `key` in a file of `key value` or `key = value` lines. */
function settingOf(text: string, key: string): string | undefined {
  const line = text.split('\n').find((each) => each.split(/[ =]/)[0] === key);
  return line?.slice(key.length).replace(/^[ =]+/, '');
}

/** Bytes that each tunnel puts around an inner packet, outer IPv4 header included. */
const OVERHEAD: readonly (readonly [Recipe, number])[] = [
  [KERNEL_IPIP, 20],
  [KERNEL_FOU, 28],
  [KERNEL_GRE, 24],
  [KERNEL_WIREGUARD, 60],
  [OPENVPN, 28],
  [TINC, 46],
  [SOCAT, 28],
  [WIREGUARD_GO, 60],
];

test('the largest inner packet of every tunnel fills an underlay packet of 1,500 bytes exactly', () => {
  assert.deepEqual(
    OVERHEAD.map(([recipe, bytes]) => [recipe.name, recipe.mtuBytes + bytes]),
    RECIPES.map((recipe) => [recipe.name, 1500]),
  );
});

test('every tunnel is named once, and what encrypts says so in its name', () => {
  const names = RECIPES.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  assert.deepEqual(
    names.filter((name) => /wireguard/i.test(name)),
    names.filter((name) => name.endsWith('(encrypted)')),
  );
});

test('both ends of OpenVPN name each other and switch cipher and digest off', () => {
  const [a, b] = OPENVPN.setUp(A, B);
  const [ours, theirs] = [fileOf(a, 'openvpn.conf'), fileOf(b, 'openvpn.conf')];
  for (const [key, value] of [
    ['cipher', 'none'],
    ['auth', 'none'],
    ['dev', 'tun-a'],
    ['local', '172.31.1.2'],
    ['remote', '172.31.2.2'],
    ['tun-mtu', '1472'],
    ['txqueuelen', '5000'],
  ] as const) {
    assert.equal(settingOf(ours, key), value, key);
  }
  assert.equal(settingOf(theirs, 'local'), '172.31.2.2');
  assert.equal(settingOf(theirs, 'remote'), '172.31.1.2');
  assert.deepEqual(a.daemon, ['openvpn', '--config', '/run/bench/a/openvpn.conf']);
});

test('both ends of tinc know both hosts, and only one connects', () => {
  const [a, b] = TINC.setUp(A, B);
  assert.equal(settingOf(fileOf(a, 'tinc.conf'), 'ConnectTo'), 'b');
  assert.equal(settingOf(fileOf(b, 'tinc.conf'), 'ConnectTo'), undefined);
  for (const setup of [a, b]) {
    assert.equal(settingOf(fileOf(setup, 'hosts/a'), 'Subnet'), '10.1.0.0/16');
    assert.equal(settingOf(fileOf(setup, 'hosts/b'), 'Address'), '172.31.2.2');
    for (const host of ['hosts/a', 'hosts/b']) {
      assert.equal(settingOf(fileOf(setup, host), 'Cipher'), 'none');
      assert.equal(settingOf(fileOf(setup, host), 'Digest'), 'none');
      assert.equal(settingOf(fileOf(setup, host), 'Compression'), '0');
      assert.equal(settingOf(fileOf(setup, host), 'PMTUDiscovery'), 'no');
    }
  }
});

test("the public key in a tinc host file is that of the host's private key", () => {
  const [a, b] = TINC.setUp(A, B);
  for (const [setup, host] of [
    [a, 'hosts/a'],
    [b, 'hosts/b'],
  ] as const) {
    const text = fileOf(setup, host);
    const published = createPublicKey(text.slice(text.indexOf('-----BEGIN')));
    const own = createPublicKey(createPrivateKey(fileOf(setup, 'rsa_key.priv')));
    assert.ok(own.equals(published));
  }
});

for (const recipe of [WIREGUARD_GO, KERNEL_WIREGUARD]) {
  test(`each end of ${recipe.name} has the public key of the other's private key`, () => {
    const [a, b] = recipe.setUp(A, B).map((setup) => fileOf(setup, 'wg.conf')) as [string, string];
    assert.equal(settingOf(a, 'PublicKey'), publicKeyOf(settingOf(b, 'PrivateKey')!));
    assert.equal(settingOf(b, 'PublicKey'), publicKeyOf(settingOf(a, 'PrivateKey')!));
    assert.equal(settingOf(a, 'AllowedIPs'), '10.2.0.0/16');
    assert.equal(settingOf(b, 'Endpoint'), '172.31.1.2:51820');
  });
}

/** From the raw private key, in the DER form of RFC 8410. */
function publicKeyOf(privateKey: string): string {
  const head = Buffer.from('302e020100300506032b656e04220420', 'hex');
  const der = Buffer.concat([head, Buffer.from(privateKey, 'base64')]);
  const key = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
  return key.export({ type: 'spki', format: 'der' }).subarray(-32).toString('base64');
}

test('socat hands whole packets between a TUN device and a UDP socket', () => {
  const [{ daemon }] = SOCAT.setUp(A, B);
  const [tun, udp] = daemon!.slice(-2);
  assert.equal(tun, 'TUN,tun-name=tun-a,tun-type=tun,iff-no-pi');
  assert.match(udp!, /^UDP4-DATAGRAM:172\.31\.2\.2:11443,bind=172\.31\.1\.2:11443,/);
});

test("the kernel's tunnels are made between the underlay addresses", () => {
  const lines = [KERNEL_IPIP, KERNEL_GRE, KERNEL_FOU].map((recipe) => recipe.setUp(A, B)[0].before);
  assert.deepEqual(lines, [
    ['link add tun-a type ipip local 172.31.1.2 remote 172.31.2.2 ttl 64'],
    ['link add tun-a type gre local 172.31.1.2 remote 172.31.2.2 ttl 64'],
    [
      'fou add port 5555 ipproto 4',
      'link add tun-a type ipip local 172.31.1.2 remote 172.31.2.2 ttl 64 encap fou encap-sport auto encap-dport 5555',
    ],
  ]);
});
