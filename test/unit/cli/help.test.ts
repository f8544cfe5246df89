import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildProgram, runCommandLine } from '../../../src/cli/program.ts';
import { piped } from './fake-terminal.ts';

async function helpOf(...command: string[]): Promise<string> {
  const terminal = piped();
  assert.equal(await runCommandLine([...command, '--help'], terminal), 0);
  assert.equal(terminal.stderr(), '');
  return terminal.stdout();
}

test('the help lists the commands and the exit codes', async () => {
  assert.equal(
    await helpOf(),
    `Usage: isthmus [options] [command]

IPIP encapsulation gateway that joins clusters whose routers cannot be changed.

Options:
  -V, --version              print the version
  -h, --help                 show help

Commands:
  run [options]              run the gateway in the foreground
  config                     check and show a configuration file
  status [options]           show the state of the running gateway
  doctor [options]           find out what keeps packets from getting through
  routes [options]           list the routes to remote clusters
  peers [options]            list the gateways that packets are exchanged with
  clusters [options]         list the remote clusters that are joined, and how fresh they are
  dns [options]              print the CoreDNS configuration that resolves names of another cluster
  trace [options] <address>  tell what becomes of a packet to an address
  bench                      measure throughput, packet rate and latency
  reload [options]           make the running gateway read its configuration file again
  join [options]             join two Kubernetes clusters
  grant [options]            let another cluster read ours: one half of join
  leave [options]            undo joining two Kubernetes clusters
  version [options]          print the version
  help [command...]          show help for a command

Exit codes: 0 done, 1 failure, 2 wrong usage or configuration, 3 a privilege or kernel feature is missing.
`,
  );
});

test('the help of trace explains a flow', async () => {
  assert.equal(
    await helpOf('trace'),
    `Usage: isthmus trace [options] <address>

Tells what becomes of a packet to an address: which prefix, cluster and gateway, the path MTU, and
why not where not. With --source, the gateway of exactly that flow. Exit code 1 when the tunnel
carries it nowhere.

Arguments:
  address                 inner destination

Options:
  --source <address>      inner source
  --protocol <name>       tcp, udp, icmp or a number
  --source-port <n>       source port
  --destination-port <n>  destination port
  --admin <address>       the running gateway: host:port or unix:/path (default: "127.0.0.1:9461",
                          env: ISTHMUS_ADMIN)
  --json                  print JSON, with plain numbers
  -h, --help              show help
`,
  );
});

test('every command describes itself and each of its options', async () => {
  const visit = (command: ReturnType<typeof buildProgram>): void => {
    assert.notEqual(command.description(), '', command.name());
    for (const option of command.options)
      assert.notEqual(option.description, '', `${command.name()} ${option.flags}`);
    for (const child of command.commands) visit(child);
  };
  visit(buildProgram(piped()));
});

test('commands that print data take --json, and those that ask a gateway take --admin', async () => {
  const admin = ['status', 'routes', 'peers', 'trace', 'reload'];
  for (const command of [
    ...admin.map((name) => [name]),
    ['version'],
    ['config', 'print'],
    ['config', 'check'],
    ['config', 'schema'],
  ]) {
    assert.match(await helpOf(...command), /^ {2}--json /m, command.join(' '));
  }
  for (const name of admin) assert.match(await helpOf(name), /^ {2}--admin <address> /m, name);
  for (const command of [['run'], ['config', 'print'], ['config', 'check']]) {
    assert.match(
      await helpOf(...command),
      /^ {2}-c, --config <file> .*\(default:\n? *"\/etc\/isthmus\/isthmus\.yaml"\)/m,
      command.join(' '),
    );
  }
});
