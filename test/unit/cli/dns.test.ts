import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type AdminServer, startAdminServer } from '../../../src/admin/server.ts';
import type { ClusterDetail } from '../../../src/admin/view.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { runCommandLine } from '../../../src/cli/program.ts';
import { CLUSTERS, fakeContext, TRACE } from '../admin/fake-view.ts';
import { piped } from './fake-terminal.ts';

let server: AdminServer;
let clusters: ClusterDetail[] = CLUSTERS;
let leadsTo: string | null = 'west';

before(async () => {
  const context = fakeContext({
    clusters: () => clusters,
    trace: () => ({ ...TRACE, verdict: leadsTo === null ? 'unreachable' : 'remote', cluster: leadsTo }),
  });
  server = await startAdminServer({ ...context, listen: '127.0.0.1:0', log: silentLogger });
});

after(() => server.close());

async function dns(...args: string[]): Promise<{ code: number; out: string; error: string }> {
  const terminal = piped();
  const code = await runCommandLine(['dns', '--admin', server.address, ...args], terminal);
  return { code, out: terminal.stdout(), error: terminal.stderr() };
}

test('clusters that share a domain get a name of their own, which is rewritten and back', async () => {
  leadsTo = 'west';
  const { code, out, error } = await dns('--cluster', 'west');
  assert.deepEqual([code, error], [0, '']);
  assert.equal(
    out,
    `# Names of cluster west, asked of its resolver 10.112.0.10 through the tunnel.
# Add this beside the block ".:53" of the Corefile; CoreDNS reads it again by itself:
#   kubectl -n kube-system edit configmap coredns
# Then, for a service "db" of namespace "shop" there:
#   db.shop.svc.west.clusterset.internal
west.clusterset.internal:53 {
    errors
    cache 30
    rewrite name suffix .west.clusterset.internal .cluster.local answer auto
    forward . 10.112.0.10
}
`,
  );
});

test('a cluster with a domain of its own is asked by it, with nothing rewritten', async () => {
  const { code, out } = await dns(
    ...['--cluster', 'west', '--server', '10.112.0.10', '--remote-domain', 'West.Example.', '--json'],
  );
  assert.equal(code, 0);
  assert.deepEqual(JSON.parse(out), {
    cluster: 'west',
    server: '10.112.0.10',
    domain: 'west.example',
    remoteDomain: 'west.example',
    corefile: 'west.example:53 {\n    errors\n    cache 30\n    forward . 10.112.0.10\n}\n',
  });
});

test('with --server no gateway is asked, and --domain is what is asked for here', async () => {
  const terminal = piped();
  const args = ['--cluster', 'anything', '--server', '10.112.0.10', '--domain', 'w.clusterset.example'];
  const code = await runCommandLine(['dns', ...args, '--admin', 'unix:/nonexistent'], terminal);
  assert.deepEqual([code, terminal.stderr()], [0, '']);
  assert.match(terminal.stdout(), /^w\.clusterset\.example:53 \{$/m);
  assert.match(
    terminal.stdout(),
    /rewrite name suffix \.w\.clusterset\.example \.cluster\.local answer auto/,
  );
});

test('a domain above our own is refused, since our own names would go there', async () => {
  const { code, error } = await dns('--cluster', 'west', '--server', '10.112.0.10', '--domain', 'local');
  assert.equal(code, 2);
  assert.match(error, /--domain local would take our own names \(cluster\.local\) away/);
});

test('a domain inside our own one is no name to forward by default', async () => {
  const args = ['--cluster', 'west', '--server', '10.112.0.10', '--remote-domain', 'west.cluster.local'];
  const { out } = await dns(...args);
  assert.match(out, /^west\.clusterset\.internal:53 \{$/m);
});

test('a cluster that the gateway does not know is named with those it knows', async () => {
  const { code, error } = await dns('--cluster', 'wset');
  assert.equal(code, 2);
  assert.match(error, /knows no cluster "wset" \(known: north, west\); name its resolver with --server/);
});

test('a cluster whose resolver is not known leads to the option and to the field', async () => {
  const { code, error } = await dns('--cluster', 'north');
  assert.equal(code, 2);
  assert.match(error, /does not know the resolver of cluster north; .*--server ADDRESS.*spec\.dns/);
});

test('what the other cluster says is checked before it can get into a Corefile', async () => {
  const west = CLUSTERS[1] as ClusterDetail;
  clusters = [{ ...west, dns: { address: '10.112.0.10', domain: 'a {\n import /etc/passwd\n}' } }];
  const { code, out, error } = await dns('--cluster', 'west');
  clusters = CLUSTERS;
  assert.deepEqual([code, out], [2, '']);
  assert.match(error, /what cluster west says of its resolver is wrong: Expected a domain name/);
});

test('a resolver that no route of the cluster leads to is printed with a warning', async () => {
  leadsTo = null;
  const { code, out, error } = await dns('--cluster', 'west');
  assert.equal(code, 0);
  assert.match(out, /forward \. 10\.112\.0\.10/);
  assert.match(error, /^isthmus: no route of cluster west leads to 10\.112\.0\.10: /);
});

for (const [option, value] of [
  ['--server', '10.112.0.300'],
  ['--domain', 'a..b'],
  ['--remote-domain', '-x'],
  ['--own-domain', `${'a'.repeat(64)}.local`],
] as const) {
  test(`${option} ${value} is refused as wrong usage`, async () => {
    const { code, error } = await dns('--cluster', 'west', option, value);
    assert.equal(code, 2);
    assert.ok(error.includes(option), error);
  });
}

test('a name that no domain may have needs a domain', async () => {
  const { code, error } = await dns('--cluster', 'west_1', '--server', '10.112.0.10');
  assert.equal(code, 2);
  assert.match(error, /"west_1" cannot be part of a domain name; name the domain with --domain/);
});
