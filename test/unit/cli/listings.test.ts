import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatPeers } from '../../../src/cli/peers.ts';
import { formatReload } from '../../../src/cli/reload.ts';
import { formatRefused, formatRoutes } from '../../../src/cli/routes.ts';
import { formatStatus } from '../../../src/cli/status.ts';
import { formatTrace } from '../../../src/cli/trace.ts';
import { PEERS, REFUSED, ROUTES, STATUS, TRACE } from '../admin/fake-view.ts';
import { piped, screen } from './fake-terminal.ts';

const NOW = Date.parse('2026-01-02T05:04:05.000Z');

function text(...lines: string[]): string {
  return `${lines.join('\n')}\n`;
}

test('status in a pipe has plain numbers, and everything that is wrong', () => {
  assert.equal(
    formatStatus(piped(), STATUS, NOW),
    text(
      'east: degraded, isthmus 1.2.3, up 100000 s',
      'underlay       172.31.0.1 on eth0, MTU 1500, socket batch, transmit packet (1 of 2 peers)',
      'tunnel         isthmus0, no address, MTU 1480, ipip, userspace engine, 2 workers, restarted 1 time',
      'local          10.1.0.0/16, 10.96.0.0/16',
      'configuration  /etc/isthmus/isthmus.yaml, loaded 2026-01-02T03:04:05.000Z; reload failed 2026-01-02T04:04:05.000Z: isthmus.yaml:3:1: bad',
      'table          12 routes, 2 peers, 1 refused, 1 conflict, 1 shadow',
      'fib            12 prefixes in 266240 of 67108864 bytes, epoch 5, last publication 0.25 ms',
      '',
      'problems',
      '  source file:/etc/isthmus/west.yaml is stale: no such file',
      '',
      'CLUSTER  ROUTES  GATEWAYS  IN-USE  STATE',
      'west         12         2       1  stale',
      '',
      'SOURCE                       STATE  CLAIMS  REFUSED  HELD  UPDATED                   REASON',
      'file:/etc/isthmus/west.yaml  stale      12        1     7  2026-01-02T03:05:00.000Z  no such file',
      '',
      'WATCHED BY       RESOURCE  STATE    OBJECTS  LAST WORD                 RELISTS  ERRORS  PROBLEM',
      'kubernetes:west  nodes     waiting        5  2026-01-02T03:05:00.000Z        5       4  connection refused',
      '',
      'TRAFFIC   PACKETS       BYTES  DROPPED',
      'outbound  1234567  1500000000        4',
      'inbound       999        1023        2',
      '',
      'DROPPED   REASON          PACKETS',
      'outbound  no-route              4',
      'inbound   spoofed-source        2',
      '',
      'conflicts',
      '  10.2.0.0/16 of west, also claimed by north: west was there first',
      '',
      'shadows',
      '  10.2.3.0/24 of north lies in 10.2.0.0/16 of west',
    ),
  );
});

test('status on a screen has human units and ages', () => {
  const shown = formatStatus(screen(), STATUS, NOW);
  assert.match(shown, /^east: degraded, isthmus 1\.2\.3, up 1d 3h\n/);
  assert.match(shown, /outbound {5}1\.2M {2}1\.4 GiB/);
  assert.match(shown, /loaded 2h ago; reload failed 1h ago: isthmus\.yaml:3:1: bad\n/);
  assert.match(shown, /12 prefixes in 260 KiB of 64\.0 MiB, epoch 5/);
});

test('status of a gateway that is well and alone has no empty sections', () => {
  const traffic = {
    ...STATUS.traffic,
    outbound: { packets: 0, bytes: 0, drops: {} },
    inbound: { packets: 0, bytes: 0, drops: {} },
  };
  const configuration = { ...STATUS.configuration, lastReload: null };
  const well = {
    ...STATUS,
    state: 'ok' as const,
    problems: [],
    clusters: [],
    sources: [],
    streams: [],
    conflicts: [],
    shadows: [],
    traffic,
    configuration,
  };
  const sections = formatStatus(piped(), well, NOW).split('\n\n');
  assert.deepEqual(
    sections.map((section) => section.split(/[ :]/)[0]),
    ['east', 'TRAFFIC'],
  );
  assert.doesNotMatch(sections[0] ?? '', /reload failed/);
});

test('the state of a gateway is coloured on a colour screen', () => {
  assert.ok(formatStatus(screen(200, true), STATUS, NOW).includes('\u001b[31mdegraded\u001b[39m'));
  assert.ok(!formatStatus(piped(), STATUS, NOW).includes('\u001b'));
});

test('routes name weights other than 1, gateways that are down, and shadows', () => {
  assert.equal(
    formatRoutes(piped(), ROUTES, NOW),
    text(
      'CIDR         CLUSTER  GATEWAYS                         STATE  SINCE                     SHADOWS      ORIGINS',
      '10.2.0.0/16  west     172.31.0.2,172.31.0.3*3(unused)  stale  2026-01-02T03:05:00.000Z  -            file:/etc/isthmus/west.yaml/west',
      '10.2.3.0/24  north    172.31.0.9                       fresh  2026-01-02T03:04:06.000Z  10.2.0.0/16  static/north',
    ),
  );
  assert.match(formatRoutes(screen(), ROUTES, NOW), / 1h 59m ago /);
});

test('refused claims come with reason and detail', () => {
  assert.equal(
    formatRefused(piped(), REFUSED),
    text(
      'CIDR         CLUSTER  SOURCE  ID    REASON        DETAIL',
      '10.1.7.0/24  west     static  west  inside-local  10.1.7.0/24 lies in 10.1.0.0/16, which is ours',
    ),
  );
});

test('peers come with path MTU, traffic and drops', () => {
  assert.equal(
    formatPeers(piped(), PEERS),
    text(
      'PEER        CLUSTERS  IN-USE  HEALTH     RTT  LOSS  PATH-MTU  FROM  BY      OUT-PACKETS   OUT-BYTES  OUT-DROPS  IN-PACKETS  IN-BYTES  IN-DROPS  LAST-ERROR',
      '172.31.0.2  west      yes     alive   1.25ms  6.3%      1400  icmp  packet      1234567  5368709120          0          12       900         1',
    ),
  );
  assert.match(formatPeers(screen(), PEERS), / 1\.2M {4}5\.0 GiB /);
});

test('empty lists say so on a screen and are a header in a pipe', () => {
  assert.equal(formatRoutes(screen(), [], NOW), 'no routes\n');
  assert.equal(formatRefused(screen(), []), 'no claim is refused\n');
  assert.equal(formatPeers(screen(), []), 'no gateway is known\n');
  assert.match(formatRoutes(piped(), [], NOW), /^CIDR {2}CLUSTER .*\n$/);
  assert.match(formatRefused(piped(), []), /^CIDR .*\n$/);
  assert.match(formatPeers(piped(), []), /^PEER .*\n$/);
});

test('a trace names prefix, cluster, gateways with their shares, and what else would hold the address', () => {
  assert.equal(
    formatTrace(piped(), TRACE),
    text(
      '10.2.3.4: remote',
      'the longest prefix that holds it is 10.2.0.0/16 of west',
      '',
      'prefix     10.2.0.0/16',
      'cluster    west',
      'gateway    depends on the flow; name one with --source, --protocol and the ports',
      'inner MTU  1380',
      '',
      'GATEWAY     WEIGHT  IN-USE  PATH-MTU  SHARE',
      '172.31.0.2       1  yes         1400  25.0%',
      '172.31.0.3       3  yes         1500  75.0%',
      '',
      'CANDIDATE    CLUSTER  USED  WHY',
      '10.2.0.0/16  west     yes   longest prefix',
      '',
      'refused claims that would hold it',
      'CIDR         CLUSTER  SOURCE  ID    REASON        DETAIL',
      '10.1.7.0/24  west     static  west  inside-local  10.1.7.0/24 lies in 10.1.0.0/16, which is ours',
    ),
  );
  assert.match(formatTrace(piped(), { ...TRACE, gateway: '172.31.0.3' }), /^gateway {4}172\.31\.0\.3$/m);
});

test('a trace that leads nowhere says why and nothing else', () => {
  const nowhere = {
    ...TRACE,
    verdict: 'unreachable' as const,
    reason: 'no prefix holds it',
    cidr: null,
    cluster: null,
    gateways: [],
    innerMtuBytes: null,
    candidates: [],
    refused: [],
  };
  assert.equal(formatTrace(piped(), nowhere), '10.2.3.4: unreachable\nno prefix holds it\n');
});

test('a reload tells what changed and what waits for a restart', () => {
  const result = (changed: string[], restartNeeded: string[]) =>
    formatReload(piped(), { ok: true, changed, restartNeeded, error: null }, status);
  const { loadedAt } = STATUS.configuration;
  const status = { ...STATUS, counts: { ...STATUS.counts, refused: 0 } };
  assert.equal(result([], []), `in force since ${loadedAt} (nothing changed by this reload)\n`);
  assert.equal(
    result(['log.level', 'clusters'], []),
    `reloaded: log.level, clusters\nin force since ${loadedAt}\n`,
  );
  assert.equal(
    result(['tunnel.device'], ['tunnel.device']),
    `reloaded: nothing changed yet\nin force since ${loadedAt}\ntakes effect after a restart: tunnel.device\n`,
  );
});
