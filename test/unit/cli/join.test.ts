import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readGateways } from '../../../src/cli/join-options.ts';
import { runCommandLine } from '../../../src/cli/program.ts';
import { piped } from './fake-terminal.ts';
import { isthmus } from './isthmus.ts';

async function refusal(...words: string[]): Promise<[number, string]> {
  const terminal = piped();
  const code = await runCommandLine(words, terminal);
  assert.equal(terminal.stdout(), '');
  return [code, terminal.stderr()];
}

const NAMES = ['--name', 'east', '--peer-name', 'west'];

test('gateways are all nodes, objects, addresses or labels', () => {
  assert.deepEqual(readGateways('all', '--gateways'), { kind: 'all' });
  assert.deepEqual(readGateways('objects', '--gateways'), { kind: 'objects' });
  assert.deepEqual(readGateways('172.31.0.2, 172.31.0.3,172.31.0.2', '--gateways'), {
    kind: 'addresses',
    addresses: ['172.31.0.2', '172.31.0.3'],
  });
  assert.deepEqual(readGateways('a=b,c', '--gateways'), { kind: 'labels', selector: 'a=b,c' });
});

const REFUSED: readonly (readonly [string[], RegExp])[] = [
  [['join', '--name', 'east'], /--peer-name is missing/],
  [['join', '--peer-name', 'west'], /--name is missing/],
  [['join', '--name', 'East', '--peer-name', 'west'], /--name "East" is no name of a cluster: lower-case/],
  [['join', ...NAMES, '--server', '10.0.0.1:6443'], /--server "10\.0\.0\.1:6443" is no URL such as https/],
  [['join', ...NAMES, '--server', 'http://10.0.0.1'], /is no URL such as https/],
  [['join', ...NAMES, '--pod-cidrs', '10.1.0.0'], /--pod-cidrs: "10\.1\.0\.0" is not a CIDR/],
  [['join', ...NAMES, '--gateways', '172.31.0.256'], /--gateways: "172\.31\.0\.256" is not an IPv4 address/],
  [['join', ...NAMES, '--gateways', 'a in (b)'], /--gateways: "a in \(b\)" is none of all, objects/],
  [['join', ...NAMES, '--source', 'flannel'], /--source "flannel" is none of Kubernetes, Calico, Cilium/],
  [
    ['join', ...NAMES, '--peer-service-cidrs', '10.1.0.1/16'],
    /--peer-service-cidrs: .*did you mean 10\.1\.0\.0\/16/,
  ],
  [['join', ...NAMES, '--dns-domain', 'cluster_local'], /--dns-domain "cluster_local" is no DNS domain/],
  [['join', ...NAMES, '--show-secrets'], /--show-secrets is for --dry-run/],
  [['leave', '--name', 'east', '--peer-name', 'east'], /both clusters are called "east"/],
  [['join', '--name', 'local', '--peer-name', 'west'], /--name "local" is what every gateway calls its own/],
  [
    ['grant', '--name', 'east', '--peer-name', 'local'],
    /--peer-name "local" is what every gateway calls its own/,
  ],
  [['grant', '--name', 'east'], /required option '--peer-name <name>' not specified/],
];

for (const [words, message] of REFUSED) {
  test(`isthmus ${words.join(' ')} is refused before anybody logs in`, async () => {
    const [code, text] = await refusal(...words);
    assert.match(text, message);
    assert.equal(code, 2);
  });
}

test('a kubeconfig that is not there is named', async () => {
  const [code, text] = await refusal('leave', ...NAMES, '--kubeconfig', '/nowhere/kubeconfig');
  assert.match(text, /^isthmus: \/nowhere\/kubeconfig cannot be read: .*\n$/);
  assert.equal(code, 1);
});

test('without the optional package the commands say its name and what to do', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-join-'));
  try {
    const hooks = join(folder, 'hooks.mjs');
    const hide = join(folder, 'hide.mjs');
    writeFileSync(
      hooks,
      `export async function resolve(name, context, next) {
        if (name === '@kubernetes/client-node') throw new Error("Cannot find package '" + name + "'");
        return next(name, context);
      }`,
    );
    writeFileSync(
      hide,
      `import { register } from 'node:module'; register(${JSON.stringify(`file://${hooks}`)});`,
    );
    const { code, stderr } = await isthmus(['leave', ...NAMES], { NODE_OPTIONS: `--import=${hide}` });
    assert.match(
      stderr,
      /^isthmus: the optional package @kubernetes\/client-node is needed .*--omit=optional/,
    );
    assert.equal(code, 1);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
