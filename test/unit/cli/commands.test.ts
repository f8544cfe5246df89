import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type AdminServer, startAdminServer } from '../../../src/admin/server.ts';
import type { ReloadResult, Trace, TraceQuery } from '../../../src/admin/view.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { runCommandLine } from '../../../src/cli/program.ts';
import { CLUSTERS, fakeContext, PEERS, REFUSED, ROUTES, STATUS, TRACE } from '../admin/fake-view.ts';
import { piped } from './fake-terminal.ts';
import { isthmus } from './isthmus.ts';

const folder = mkdtempSync(join(tmpdir(), 'isthmus-cli-'));
let server: AdminServer;
let verdict: Trace['verdict'] = 'remote';
let traced: TraceQuery | undefined;
let reloaded: ReloadResult = {
  ok: true,
  changed: ['log.level'],
  restartNeeded: ['tunnel.device'],
  error: null,
};

before(async () => {
  const trace = (query: TraceQuery) => {
    traced = query;
    return { ...TRACE, verdict };
  };
  server = await startAdminServer({
    ...fakeContext({ trace, reload: async () => reloaded }),
    listen: '127.0.0.1:0',
    log: silentLogger,
  });
});

after(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

/** A command to the fake gateway; it must succeed without a word on stderr. */
async function ask(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await isthmus([...args, '--admin', server.address]);
  assert.deepEqual([code, stderr], [0, '']);
  return stdout;
}

for (const [args, value] of [
  [['status'], STATUS],
  [['routes'], ROUTES],
  [['routes', '--cluster', 'north'], [ROUTES[1]]],
  [['routes', '--refused'], REFUSED],
  [['routes', '--refused', '--cluster', 'north'], []],
  [['peers'], PEERS],
  [['clusters'], CLUSTERS],
  [['trace', '10.2.3.4'], TRACE],
] as const) {
  test(`isthmus ${args.join(' ')} --json prints what the gateway says`, async () => {
    assert.deepEqual(JSON.parse(await ask(...args, '--json')), value);
  });
}

for (const [args, first] of [
  [['status'], /^east: degraded, isthmus 1\.2\.3, up 100000 s\n/],
  [['routes'], /^CIDR {9}CLUSTER {2}GATEWAYS /],
  [['routes', '--refused'], /^CIDR {9}CLUSTER {2}SOURCE /],
  [['peers'], /^PEER {8}CLUSTERS {2}IN-USE /],
  [['trace', '10.2.3.4'], /^10\.2\.3\.4: remote\n/],
] as const) {
  test(`isthmus ${args.join(' ')} prints text for people, without colours when piped`, async () => {
    const stdout = await ask(...args);
    assert.match(stdout, first);
    assert.ok(!stdout.includes('\u001b'));
  });
}

test('a trace sends the flow that it was given', async () => {
  await ask(
    'trace',
    '10.2.3.4',
    '--source',
    '10.1.0.1',
    '--protocol',
    'tcp',
    '--source-port',
    '1',
    '--destination-port',
    '65535',
  );
  assert.deepEqual(traced, {
    destination: '10.2.3.4',
    source: '10.1.0.1',
    protocol: 'tcp',
    sourcePort: 1,
    destinationPort: 65_535,
  });
});

test('the gateway can be named in the environment', async () => {
  const { code, stdout } = await isthmus(['peers', '--json'], { ISTHMUS_ADMIN: server.address });
  assert.equal(code, 0);
  assert.deepEqual(JSON.parse(stdout), PEERS);
});

test('a reload tells what changed', async () => {
  assert.equal(
    await ask('reload'),
    'reloaded: log.level\nin force since 2026-01-02T03:04:05.000Z\ntakes effect after a restart: tunnel.device\n1 claim is refused, see isthmus routes --refused\n',
  );
  assert.deepEqual(JSON.parse(await ask('reload', '--json')), reloaded);
});

test('a reload that changes nothing tells since when the configuration is in force', async () => {
  const before = reloaded;
  reloaded = { ...before, changed: [], restartNeeded: [] };
  const told = await ask('reload');
  reloaded = before;
  assert.equal(
    told,
    'in force since 2026-01-02T03:04:05.000Z (nothing changed by this reload)\n1 claim is refused, see isthmus routes --refused\n',
  );
});

test('a trace that leads nowhere ends with 1', async () => {
  verdict = 'unreachable';
  const { code, stdout, stderr } = await isthmus(['trace', '10.2.3.4', '--admin', server.address]);
  verdict = 'remote';
  assert.deepEqual([code, stderr], [1, '']);
  assert.match(stdout, /^10\.2\.3\.4: unreachable\n/);
});

test('help shows what a command of a command takes, and knows what there is none of', async () => {
  const shown = await isthmus(['help', 'config', 'check']);
  assert.deepEqual([shown.code, shown.stderr], [0, '']);
  assert.match(shown.stdout, /^Usage: isthmus config check \[options\]\n/);
  assert.match((await isthmus(['help'])).stdout, /^Usage: isthmus \[options\] \[command\]\n/);
  assert.deepEqual(await isthmus(['help', 'config', 'chekc']), {
    code: 2,
    stdout: '',
    stderr: 'isthmus: there is no command "config chekc"; see isthmus help\n',
  });
});

test('a reload of a bad file shows its problems and ends with 2', async () => {
  const before = reloaded;
  reloaded = {
    ok: false,
    changed: [],
    restartNeeded: [],
    error: 'east.yaml:1:1: cluster: bad\neast.yaml:2:1: log: worse',
  };
  const plain = await isthmus(['reload', '--admin', server.address]);
  const json = await isthmus(['reload', '--json', '--admin', server.address]);
  assert.deepEqual(plain, {
    code: 2,
    stdout: '',
    stderr:
      'isthmus: east.yaml:1:1: cluster: bad\nisthmus: east.yaml:2:1: log: worse\nisthmus: not reloaded; the old configuration stays in force\n',
  });
  assert.equal(json.code, 2);
  assert.deepEqual(JSON.parse(json.stdout), reloaded);
  reloaded = before;
});

for (const command of ['status', 'routes', 'peers', 'reload', 'trace 10.2.3.4']) {
  test(`isthmus ${command} without a gateway names the address and ends with 1`, async () => {
    const terminal = piped();
    const address = 'unix:/nonexistent/isthmus.sock';
    assert.equal(await runCommandLine([...command.split(' '), '--admin', address], terminal), 1);
    assert.equal(terminal.stdout(), '');
    assert.match(
      terminal.stderr(),
      /^isthmus: no gateway listens on unix:\/nonexistent\/isthmus\.sock: [^\n]* --admin or ISTHMUS_ADMIN\n$/,
    );
  });
}

test('a gateway that cannot be reached ends the process with 1', async () => {
  const { code, stdout, stderr } = await isthmus(['status'], {
    ISTHMUS_ADMIN: 'unix:/nonexistent/isthmus.sock',
  });
  assert.deepEqual([code, stdout], [1, '']);
  assert.match(stderr, /^isthmus: no gateway listens on /);
});

for (const [args, message] of [
  [['stat'], "unknown command 'stat' (Did you mean status?)"],
  [['routes', '--jsn'], "unknown option '--jsn' (Did you mean --json?)"],
  [['routes', 'extra'], "too many arguments for 'routes'. Expected 0 arguments but got 1."],
  [['trace'], "missing required argument 'address'"],
  [['trace', '10.2.3'], /is invalid for argument 'address'\. "10\.2\.3" is not an IPv4 address/],
  [
    ['trace', '10.2.3.4', '--source', 'x'],
    /'--source <address>' argument 'x' is invalid\. "x" is not an IPv4 address/,
  ],
  [
    ['trace', '10.2.3.4', '--protocol', 'sctp'],
    "option '--protocol <name>' argument 'sctp' is invalid. Expected tcp, udp, icmp or a number from 0 to 255.",
  ],
  [
    ['trace', '10.2.3.4', '--source-port', '65536'],
    "option '--source-port <n>' argument '65536' is invalid. Expected a whole number from 0 to 65535.",
  ],
  [['trace', '10.2.3.4', '--protocol', 'tcp'], 'a protocol or port makes a flow only together with --source'],
  [
    ['status', '--admin', '9461'],
    '--admin: expected host:port such as 127.0.0.1:9461, or unix:/path, got "9461" (a port is missing)',
  ],
  [
    ['run', 'east.yaml'],
    "too many arguments for 'run'. Expected 0 arguments but got 1. Name the file with -c: -c east.yaml.",
  ],
  [
    ['config', 'check', 'east.yaml'],
    "too many arguments for 'check'. Expected 0 arguments but got 1. Name the file with -c: -c east.yaml.",
  ],
  [['run', '-c'], "option '-c, --config <file>' argument missing"],
] as const) {
  test(`isthmus ${args.join(' ')} is a mistake of usage: one line and exit code 2`, async () => {
    const terminal = piped();
    assert.equal(await runCommandLine(args, terminal), 2);
    assert.equal(terminal.stdout(), '');
    const stderr = terminal.stderr();
    assert.match(stderr, /^isthmus: [^\n]+\n$/);
    if (typeof message === 'string') assert.equal(stderr, `isthmus: ${message}\n`);
    else assert.match(stderr, message);
  });
}

test('a mistake of usage ends the process with 2', async () => {
  const ended = await isthmus(['stat']);
  assert.deepEqual(ended, {
    code: 2,
    stdout: '',
    stderr: "isthmus: unknown command 'stat' (Did you mean status?)\n",
  });
});

test('without a command the help is on stderr and the exit code is 2', async () => {
  for (const args of [[], ['config']]) {
    const terminal = piped();
    assert.equal(await runCommandLine(args, terminal), 2);
    assert.equal(terminal.stdout(), '');
    assert.match(terminal.stderr(), /^Usage: isthmus/);
  }
});

const GOOD =
  'cluster: {name: east, cidrs: [10.1.0.0/16]}\nclusters:\n  - {name: west, cidrs: [10.2.0.0/16, 10.3.0.0/16], gateways: [{address: 172.31.0.2}]}\n';

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

test('a good configuration is summed up in a line', async () => {
  const path = file('good.yaml', GOOD);
  assert.deepEqual(await isthmus(['config', 'check', '-c', path]), {
    code: 0,
    stdout: `${path}: valid, cluster east, 1 static remote cluster with 2 CIDRs, 0 watched sources\n`,
    stderr: '',
  });
  const { stdout } = await isthmus(['config', 'check', '--config', path, '--json']);
  assert.deepEqual(JSON.parse(stdout), { ok: true, file: path, problems: [], warnings: [] });
});

test('what is valid but cannot work is a warning with its place, and no failure', async () => {
  const path = file(
    'warned.yaml',
    [
      'cluster: {name: east, cidrs: [10.1.0.0/16, 172.31.9.0/24]}',
      'underlay: {address: 172.31.9.1}',
      'clusters:',
      '  - name: west',
      '    cidrs:',
      '      - 10.1.7.0/24',
      '      - 0.0.0.0/0',
      '      - 64.0.0.0/2',
      '      - 127.1.0.0/16',
      '      - 172.30.0.0/16',
      '      - 10.2.0.0/16',
      '    gateways: [{address: 172.30.0.2}]',
      '  - name: north',
      '    cidrs: [10.2.0.0/16]',
      '    gateways:',
      '      - address: 10.1.0.3',
      'security: {transit: [south]}',
      '',
    ].join('\n'),
  );
  const { code, stdout, stderr } = await isthmus(['config', 'check', '-c', path]);
  assert.equal(code, 0);
  assert.match(stdout, /: valid, cluster east, 2 static remote clusters with 7 CIDRs/);
  const found = stderr.split('\n').map((line) => line.slice(path.length));
  for (const [i, pattern] of [
    /^:2:21: underlay\.address: warning: 172\.31\.9\.1 lies in 172\.31\.9\.0\/24 of cluster\.cidrs/,
    /^:6:9: clusters\[0\]\.cidrs\[0\]: warning: 10\.1\.7\.0\/24 of west will get no route \(inside-local\)/,
    /^:7:9: clusters\[0\]\.cidrs\[1\]: warning: .*\(default-route\)/,
    /^:8:9: clusters\[0\]\.cidrs\[2\]: warning: .*\(too-short\)/,
    /^:9:9: clusters\[0\]\.cidrs\[3\]: warning: .*\(martian\)/,
    /^:10:9: clusters\[0\]\.cidrs\[4\]: warning: .*\(gateway-inside\)/,
    /^:14:13: clusters\[1\]\.cidrs\[0\]: warning: .*\(conflict\)/,
    /^:16:18: clusters\[1\]\.gateways\[0\]\.address: warning: 10\.1\.0\.3 lies in 10\.1\.0\.0\/16/,
    /^:17:22: security\.transit\[0\]: warning: there is no cluster "south", and no watched source/,
    /^$/,
  ].entries())
    assert.match(found[i] ?? '', pattern);
  assert.equal(found.length, 10);
  const json = await isthmus(['config', 'check', '-c', path, '--json']);
  assert.deepEqual([json.code, json.stderr], [0, '']);
  const { ok, warnings } = JSON.parse(json.stdout) as { ok: boolean; warnings: { field: string }[] };
  assert.equal(ok, true);
  assert.equal(warnings.length, 9);
  assert.equal(warnings[0]?.field, 'underlay.address');
});

test('routes of every kind as our own are a warning, until `within` says which', async () => {
  const watch = (more: string) => `${GOOD}watch: [{kind: kernel-routes${more}}]\n`;
  const { code, stderr } = await isthmus(['config', 'check', '-c', file('routes.yaml', watch(''))]);
  assert.equal(code, 0);
  assert.match(stderr, /watch\[0\]\.within: warning: empty: every route of these protocols becomes our own/);
  const limited = file('routes-within.yaml', watch(', within: [10.1.0.0/16]'));
  assert.equal((await isthmus(['config', 'check', '-c', limited])).stderr, '');
});

test('a watched path that does not exist is a warning; then a cluster for transit may still come', async () => {
  const path = file(
    'watched.yaml',
    `${GOOD}watch: [{kind: file, path: none.d}]\nsecurity: {transit: [south]}\n`,
  );
  const { code, stderr } = await isthmus(['config', 'check', '-c', path]);
  assert.deepEqual(
    [code, stderr],
    [0, `${path}:4:28: watch[0].path: warning: ${join(folder, 'none.d')} does not exist\n`],
  );
});

test('a configuration file that cannot be read is named once', async () => {
  const missing = join(folder, 'missing.yaml');
  const { code, stderr } = await isthmus(['config', 'check', '-c', missing]);
  assert.deepEqual([code, stderr], [2, `${missing}: does not exist\n`]);
  assert.equal((await isthmus(['run', '-c', folder])).stderr, `${folder}: expected a file, got a folder\n`);
});

test('each problem of a bad configuration is a line that begins with its place', async () => {
  const path = file('bad.yaml', GOOD.replace('10.2.0.0/16', '10.2.0.1/16').replace('west', 'east'));
  for (const command of [
    ['config', 'check'],
    ['config', 'print'],
  ]) {
    const { code, stdout, stderr } = await isthmus([...command, '-c', path]);
    assert.deepEqual([code, stdout], [2, '']);
    assert.equal(
      stderr,
      `${path}:3:12: clusters[0].name: expected the name of a remote cluster, got "east", which is our own (cluster.name)\n` +
        `${path}:3:26: clusters[0].cidrs[0]: expected a CIDR such as 10.1.0.0/16 or fd00:1::/48, got "10.2.0.1/16" (host bits set; did you mean 10.2.0.0/16?)\n`,
    );
  }
  const { code, stdout, stderr } = await isthmus(['config', 'check', '-c', path, '--json']);
  assert.deepEqual([code, stderr], [2, '']);
  const { ok, problems } = JSON.parse(stdout) as { ok: boolean; problems: { field: string; line: number }[] };
  assert.equal(ok, false);
  assert.deepEqual(
    problems.map(({ field, line }) => [field, line]),
    [
      ['clusters[0].name', 3],
      ['clusters[0].cidrs[0]', 3],
    ],
  );
});

test('a printed configuration has the defaults and is itself valid', async () => {
  const { stdout } = await isthmus(['config', 'print', '-c', file('short.yaml', GOOD)]);
  assert.match(stdout, /^ {2}device: isthmus0$/m);
  const again = await isthmus(['config', 'print', '-c', file('printed.yaml', stdout)]);
  assert.equal(again.stdout, stdout);
  const json = await isthmus(['config', 'print', '-c', file('short.yaml', GOOD), '--json']);
  const { cluster, tunnel } = JSON.parse(json.stdout) as { cluster: object; tunnel: { mtu: string } };
  assert.deepEqual(cluster, { name: 'east', cidrs: ['10.1.0.0/16'], gateway: 'auto' });
  assert.equal(tunnel.mtu, 'auto');
});

test('the JSON Schema is JSON', async () => {
  const { code, stdout } = await isthmus(['config', 'schema']);
  assert.equal(code, 0);
  assert.deepEqual((JSON.parse(stdout) as { required: string[] }).required, ['cluster']);
});

test('run refuses a bad configuration before it touches anything', async () => {
  const path = file('bad-run.yaml', 'cluster: {name: east}\n');
  const { code, stderr } = await isthmus(['run', '-c', path]);
  assert.equal(code, 2);
  assert.match(stderr, /bad-run\.yaml:1:10: cluster\.cidrs: expected one or more CIDRs, got none/);
});

test('the version is printed', async () => {
  const { version } = JSON.parse((await isthmus(['version', '--json'])).stdout) as { version: string };
  assert.match(
    (await isthmus(['version'])).stdout,
    new RegExp(`^isthmus ${version.replaceAll('.', '\\.')} \\(node v\\d+`),
  );
  assert.deepEqual(await isthmus(['--version']), { code: 0, stdout: `${version}\n`, stderr: '' });
});

test('a reader that closes the pipe early is no failure', async () => {
  const many = Array.from({ length: 20_000 }, () => ROUTES[0]!);
  const big = await startAdminServer({
    ...fakeContext({ routes: () => many }),
    listen: '127.0.0.1:0',
    log: silentLogger,
  });
  const main = fileURLToPath(new URL('../../../src/main.js', import.meta.url));
  const child = spawn(process.execPath, [main, 'routes', '--admin', big.address], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  child.stdout.once('data', () => child.stdout.destroy());
  const code = await new Promise((resolve) => child.on('close', resolve));
  await big.close();
  assert.deepEqual([code, stderr], [0, '']);
});
