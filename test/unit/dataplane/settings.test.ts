import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { parseAddress, parseCidr } from '../../../src/base/address.ts';
import { type Config, configSchema } from '../../../src/config/schema.ts';
import { fibSettings } from '../../../src/dataplane/settings.ts';
import { Fib } from '../../../src/fib/fib.ts';
import { DSCP_INHERIT, SETTINGS, SETTINGS_FLAG, TTL_INHERIT } from '../../../src/fib/layout.ts';
import { EVERY_FIELD, MINIMAL } from '../config/example.ts';

const SOURCE = parseAddress('172.31.0.1');

function configOf(document: unknown): Config {
  return configSchema.parse(document);
}

test('every setting of the packet path comes from its field of the configuration', () => {
  const config = configOf(EVERY_FIELD);
  assert.deepEqual(fibSettings(config, SOURCE, 1500, 9000), {
    ...{
      source: SOURCE,
      tunnelAddress: 0,
      linkMtuBytes: 1500,
      deviceMtuBytes: (EVERY_FIELD.tunnel as { mtu: number }).mtu,
      ttl: 'inherit',
      dscp: 46,
      ecn: 'compatibility',
    },
    ...{ clampMss: false, fragment: 'outer', innerSource: 'loose', transit: ['west'], failOpen: true },
    allowedSources: [parseCidr('172.31.9.0/24'), parseCidr('172.31.0.7/32')],
    udp: { port: 5556, peerPorts: new Map([[parseAddress('172.31.0.2'), 5557]]) },
  });
});

test('without a word the settings are the safe ones of the design', () => {
  assert.deepEqual(fibSettings(configOf(parse(MINIMAL)), SOURCE, 1500, 9000), {
    ...{
      source: SOURCE,
      tunnelAddress: 0,
      linkMtuBytes: 1500,
      deviceMtuBytes: 1480,
      ttl: 64,
      dscp: 'inherit',
      ecn: 'normal',
    },
    ...{
      clampMss: true,
      fragment: 'inner',
      innerSource: 'strict',
      transit: [],
      allowedSources: [],
      failOpen: false,
      udp: undefined,
    },
  });
});

test('the MTU of a link is at most the largest IPv4 packet, as a loopback device has a larger one', () => {
  const config = configOf(parse(MINIMAL));
  assert.equal(fibSettings(config, SOURCE, 65_535, 9000).linkMtuBytes, 65_535);
  assert.equal(fibSettings(config, SOURCE, 65_536, 9000).linkMtuBytes, 65_535);
});

test('merged TCP is cut to the smallest MTU on its way: that of the device, or of a pod behind it', () => {
  const config = configOf(parse(MINIMAL));
  assert.equal(fibSettings(config, SOURCE, 1500, 1440).deviceMtuBytes, 1440);
  assert.equal(fibSettings(config, SOURCE, 1500, 9000).deviceMtuBytes, 1480);
});

test('the FIB image holds each setting in its word', () => {
  const words = (document: unknown, mtu: number): Uint32Array => {
    const fib = new Fib({ capacityBytes: 1 << 16 });
    fib.configure(fibSettings(configOf(document), SOURCE, mtu, 9000));
    return fib.words;
  };
  const minimal = words(parse(MINIMAL), 1500);
  assert.equal(minimal[SETTINGS.SOURCE], SOURCE);
  assert.equal(minimal[SETTINGS.TUNNEL_ADDRESS], 0);
  assert.equal(minimal[SETTINGS.LINK_MTU], 1500);
  assert.equal(minimal[SETTINGS.TTL], 64);
  assert.equal(minimal[SETTINGS.DSCP], DSCP_INHERIT);
  assert.equal(minimal[SETTINGS.FLAGS], SETTINGS_FLAG.CLAMP_MSS | SETTINGS_FLAG.INNER_SOURCE_STRICT);
  const every = words(EVERY_FIELD, 9000);
  assert.deepEqual([minimal[SETTINGS.OUTER_BYTES], minimal[SETTINGS.UDP_PORT]], [20, 0]);
  assert.deepEqual([every[SETTINGS.OUTER_BYTES], every[SETTINGS.UDP_PORT]], [28, 5556]);
  assert.equal(every[SETTINGS.LINK_MTU], 9000);
  assert.equal(every[SETTINGS.TTL], TTL_INHERIT);
  assert.equal(every[SETTINGS.DSCP], 46);
  const { FRAGMENT_OUTER, INNER_SOURCE_LOOSE, ECN_COMPATIBILITY } = SETTINGS_FLAG;
  assert.equal(every[SETTINGS.FLAGS], FRAGMENT_OUTER | INNER_SOURCE_LOOSE | ECN_COMPATIBILITY);
});
