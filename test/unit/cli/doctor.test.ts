import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HealthRow, PeerRow, Status } from '../../../src/admin/view.ts';
import { diagnose, formatFindings } from '../../../src/cli/doctor.ts';
import { PEERS, STATUS } from '../admin/fake-view.ts';
import { piped } from './fake-terminal.ts';

const [PEER] = PEERS as [PeerRow];
const HEALTHY: Status = { ...STATUS, state: 'ok', problems: [] };

function ofPeer(health: Partial<HealthRow>, change: Partial<PeerRow> = {}): { ok: boolean; text: string } {
  const peer = { ...PEER, ...change, health: { ...PEER.health, ...health } };
  const finding = diagnose(HEALTHY, [peer]).find(({ what }) => what.startsWith(PEER.address));
  assert.ok(finding !== undefined);
  return finding;
}

test('a gateway that answers is well, with its round-trip time and path MTU', () => {
  const findings = diagnose(HEALTHY, PEERS);
  assert.ok(findings.every(({ ok }) => ok));
  assert.match(
    formatFindings(piped(), findings),
    /172\.31\.0\.2 \(west\) +ok +answers, 1\.25ms, path MTU 1400\n/,
  );
  assert.match(ofPeer({ answers: 'reflected' }).text, /forwards what is addressed back to us/);
});

test('protocol 4 that is blocked is told from a gateway that is down', () => {
  const blocked = ofPeer({ state: 'unknown', answers: null, answersPlainOnly: true });
  assert.equal(blocked.ok, false);
  assert.match(blocked.text, /UDP gets there and back, IP protocol 4 does not/);
  assert.match(blocked.text, /tunnel\.encapsulation: fou/);
  const fou: Status = { ...HEALTHY, tunnel: { ...HEALTHY.tunnel, encapsulation: 'fou', udpPort: 5555 } };
  const health = { ...PEER.health, state: 'unknown', answers: null, answersPlainOnly: true } as const;
  const findings = diagnose(fou, [{ ...PEER, health }]);
  assert.match(findings.map(({ text }) => text).join(), /other UDP gets there and back.*UDP port 5555/);
  const down = ofPeer({ state: 'dead' }, { lastError: 'host unreachable, said 172.31.0.254' });
  assert.equal(down.ok, false);
  assert.match(down.text, /neither in the tunnel nor by plain UDP; last ICMP: host unreachable/);
  assert.match(ofPeer({ state: 'unknown', answers: null }).text, /never answered a probe/);
  assert.equal(ofPeer({ state: 'recovering' }).ok, true);
  assert.deepEqual(ofPeer({ state: 'unknown', isProbed: false }).text, 'not probed (health.probes: off)');
});

test('problems of the gateway follow, but not those of a gateway that was spoken of', () => {
  const problems = [`gateway ${PEER.address} of west does not answer probes: …`, 'net.ipv4.ip_forward is 0'];
  const findings = diagnose({ ...HEALTHY, state: 'degraded', problems }, PEERS);
  assert.deepEqual(
    findings.filter(({ ok }) => !ok).map(({ text }) => text),
    ['net.ipv4.ip_forward is 0'],
  );
});

test('without workers or routes it says so', () => {
  const findings = diagnose(
    {
      ...HEALTHY,
      state: 'starting',
      tunnel: { ...STATUS.tunnel, workers: 0 },
      counts: { ...STATUS.counts, routes: 0 },
    },
    [],
  );
  assert.deepEqual(
    findings.map(({ what, ok }) => [what, ok]),
    [
      ['gateway', false],
      ['routes', false],
    ],
  );
});
