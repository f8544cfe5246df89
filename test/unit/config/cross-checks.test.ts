import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig } from '../../../src/config/load.ts';
import { formatProblem } from '../../../src/config/problem.ts';

function problemsOf(text: string): string[] {
  return (parseConfig(text, 'east.yaml').problems ?? []).map(formatProblem);
}

const EAST = 'cluster: {name: east, cidrs: [10.1.0.0/16]}\n';
const cluster = (name: string, gateways: string) =>
  `  - {name: ${name}, cidrs: [10.2.0.0/16], gateways: [${gateways}]}\n`;

test('a remote cluster cannot have our own name', () => {
  assert.deepEqual(problemsOf(`${EAST}clusters:\n${cluster('east', '{address: 172.31.0.2}')}`), [
    'east.yaml:3:12: clusters[0].name: expected the name of a remote cluster, got "east", which is our own (cluster.name)',
  ]);
});

test('we are no transit for ourselves', () => {
  assert.deepEqual(problemsOf(`${EAST}security: {transit: [west, east]}\n`), [
    'east.yaml:2:28: security.transit[1]: expected the name of a remote cluster, got "east", which is our own (cluster.name)',
  ]);
});

test('a remote cluster stands in the file once', () => {
  const text = `${EAST}clusters:\n${cluster('west', '{address: 172.31.0.2}')}${cluster('west', '{address: 172.31.0.3}')}`;
  assert.deepEqual(problemsOf(text), [
    'east.yaml:4:12: clusters[1].name: expected each cluster once, got "west" again (first at element 0); put its CIDRs and gateways together',
  ]);
});

test('a gateway stands in a cluster once', () => {
  const text = `${EAST}clusters:\n${cluster('west', '{address: 172.31.0.2}, {address: 172.31.0.2, weight: 2}')}`;
  assert.match(
    problemsOf(text).join(),
    /^east\.yaml:3:\d+: clusters\[0\]\.gateways\[1\]\.address: expected each gateway once, got 172\.31\.0\.2 again/,
  );
});

test('a path is watched once, however it is written', () => {
  const text = `${EAST}watch:\n  - {kind: file, path: a/west.yaml}\n  - {kind: file, path: /etc/isthmus/a/../a/west.yaml/}\n`;
  const { problems = [] } = parseConfig(text, '/etc/isthmus/east.yaml');
  assert.deepEqual(problems.map(formatProblem), [
    '/etc/isthmus/east.yaml:4:24: watch[1].path: expected each file or folder once, got /etc/isthmus/a/west.yaml again (first at element 0)',
  ]);
  assert.deepEqual(
    parseConfig(text.replace('/a/west.yaml/', '/b'), '/etc/isthmus/east.yaml').problems,
    undefined,
  );
});

test('our own underlay address cannot be a remote gateway', () => {
  const text = `${EAST}underlay: {address: 172.31.0.1}\nclusters:\n${cluster('west', '{address: 172.31.0.1}')}`;
  assert.match(
    problemsOf(text).join(),
    /clusters\[0\]\.gateways\[0\]\.address: expected the address of a remote gateway, got 172\.31\.0\.1, which is our own/,
  );
});

test('the tunnel has a device of its own', () => {
  assert.match(
    problemsOf(`${EAST}underlay: {device: eth0}\ntunnel: {device: eth0}\n`).join(),
    /^east\.yaml:3:18: tunnel\.device: expected a device of its own, got "eth0"/,
  );
});

test('the tunnel address is not the underlay address', () => {
  const problems = problemsOf(`${EAST}underlay: {address: 10.1.0.1}\ntunnel: {address: 10.1.0.1}\n`);
  assert.match(
    problems.join(),
    /^east\.yaml:3:19: tunnel\.address: expected an overlay address, got 10\.1\.0\.1/,
  );
});

test('the portable socket has no packet socket beside it', () => {
  assert.deepEqual(problemsOf(`${EAST}tunnel: {transmit: packet}\n`), []);
  assert.match(
    problemsOf(`${EAST}tunnel: {transmit: packet, underlaySocket: raw-socket}\n`).join(),
    /^east\.yaml:2:20: tunnel\.transmit: expected raw, got packet; with underlaySocket raw-socket/,
  );
});

test('the port of fou is not that of plain probes, and each gateway has one', () => {
  assert.deepEqual(problemsOf(`${EAST}tunnel: {fouPort: 49461}\n`), []);
  assert.match(
    problemsOf(`${EAST}tunnel: {encapsulation: fou, fouPort: 49461}\n`).join(),
    /tunnel\.fouPort: expected another port, got 49461, which is that of plain probes/,
  );
  const twice = '[{address: 172.31.0.2, port: 1}, {address: 172.31.0.2, port: 2}]';
  assert.match(problemsOf(`${EAST}tunnel: {fouPeers: ${twice}}\n`).join(), /expected each gateway once/);
});

test('the tunnel address lies in one of our CIDRs', () => {
  assert.deepEqual(problemsOf(`${EAST}tunnel: {address: 10.1.255.255}\n`), []);
  assert.match(
    problemsOf(`${EAST}tunnel: {address: 10.2.0.1}\n`).join(),
    /tunnel\.address: expected an address in one of cluster\.cidrs, got 10\.2\.0\.1/,
  );
});

test('with an unreadable CIDR nothing is said about the tunnel address, which may lie in it', () => {
  assert.deepEqual(
    problemsOf('cluster: {name: east, cidrs: [10.1.0.0/16, oops]}\ntunnel: {address: 10.2.0.1}\n').length,
    1,
  );
});

test('checks over several fields run also when other fields are wrong', () => {
  const text = `${EAST}log: {level: loud}\nclusters:\n${cluster('east', '{address: nowhere}')}`;
  assert.deepEqual(
    (parseConfig(text, 'x').problems ?? []).map(({ field }) => field),
    ['log.level', 'clusters[0].name', 'clusters[0].gateways[0].address'],
  );
});

test('a remote CIDR inside ours and the same CIDR in two clusters are left to the table', () => {
  const inside = '  - {name: a, cidrs: [10.1.2.0/24], gateways: [{address: 172.31.0.2}]}\n';
  const again = '  - {name: b, cidrs: [10.1.2.0/24], gateways: [{address: 172.31.0.3}]}\n';
  assert.deepEqual(problemsOf(`${EAST}clusters:\n${inside}${again}`), []);
});

test('clusters and watch may both be empty', () => {
  assert.deepEqual(problemsOf(`${EAST}clusters: []\nwatch: []\n`), []);
});
