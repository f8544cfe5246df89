import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, type AgentProgram, type CommandTable } from './agent-client.ts';
import { Daemon } from './daemon.ts';
import { isInsideSandbox, SANDBOX_FOLDER } from './sandbox.ts';

/** Runs a command to its end; resolves with its stdout, rejects with its stderr. */
export async function run(command: readonly string[], input?: string): Promise<string> {
  const daemon = new Daemon(command.join(' '), command, { stdio: ['pipe', 'pipe', 'pipe'] });
  // A command that ends before it has read all of its input says so by its status.
  daemon.child.stdin!.on('error', () => {});
  daemon.child.stdin!.end(input ?? '');
  const status = await daemon.exited;
  if (status !== 0)
    throw new Error(`${command.join(' ')} ended with ${status}:\n${input ?? ''}${daemon.log()}`);
  return daemon.stdout();
}

/** Asks `probe` until it gives something other than undefined or false; fails with `what` at the deadline. */
export async function poll<T>(
  what: string,
  timeoutMs: number,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  intervalMs = 5,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = await probe();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await sleep(intervalMs);
  }
}

/** One end of a cable. */
export interface Plug {
  readonly machine: Machine;
  readonly device: string;
  /** With its prefix length, `10.1.0.1/24`. */
  readonly addresses?: readonly string[];
  readonly mtuBytes?: number;
}

/** A machine: one network namespace. */
export class Machine {
  readonly name: string;
  readonly namespace: string;
  readonly #topology: Topology;

  constructor(topology: Topology, name: string, namespace: string) {
    this.#topology = topology;
    this.name = name;
    this.namespace = namespace;
  }

  /** Runs iproute2 commands, one a line without the leading `ip`, in one process. */
  async ip(...lines: readonly string[]): Promise<void> {
    await run(['ip', '-n', this.namespace, '-batch', '-'], `${lines.join('\n')}\n`);
  }

  /** The JSON that `ip -json` prints. */
  async ipJson<T>(...words: readonly string[]): Promise<T[]> {
    const text = await run(['ip', '-n', this.namespace, '-json', '-details', ...words]);
    return text.trim() === '' ? [] : (JSON.parse(text) as T[]);
  }

  async exec(...command: readonly string[]): Promise<string> {
    return run(this.#inside(command));
  }

  /** Sets sysctls by name (`net.ipv4.ip_forward`), without the program sysctl, which is not everywhere. */
  async sysctl(values: Readonly<Record<string, number | string>>): Promise<void> {
    const lines = Object.entries(values).map(
      ([name, value]) => `echo '${value}' > /proc/sys/${name.replaceAll('.', '/')} || exit 1`,
    );
    await this.exec('sh', '-c', lines.join('\n'));
  }

  /** Starts a process here; it is ended with the topology at the latest. */
  start(name: string, command: readonly string[], environment: NodeJS.ProcessEnv = {}): Daemon {
    const env = { ...process.env, ...environment };
    // Left in, a Node process started here takes itself for a child of the test runner and writes its protocol.
    delete env.NODE_TEST_CONTEXT;
    return this.#topology.keep(new Daemon(`${this.name}: ${name}`, this.#inside(command), { env }));
  }

  /** Starts a process that makes, echoes, receives or compares traffic here. */
  async agent<C extends CommandTable<C>>(program: AgentProgram<C>): Promise<Agent<C>> {
    const agent = new Agent<C>(
      `${this.name}: agent`,
      this.#inside([process.execPath, '--enable-source-maps', program.file]),
    );
    this.#topology.keep(agent.daemon);
    await agent.ready;
    return agent;
  }

  #inside(command: readonly string[]): string[] {
    return ['ip', 'netns', 'exec', this.namespace, ...command];
  }
}

let topologies = 0;

/** Machines and the cables between them. Everything in it is gone after `close`, and with the sandbox in any case. */
export class Topology {
  /** Scratch files of this topology. */
  readonly folder: string;
  readonly machines: Machine[] = [];
  readonly #daemons: Daemon[] = [];
  readonly #prefix: string;

  constructor() {
    if (!isInsideSandbox()) throw new Error('topologies are made inside the sandbox only: see sandbox.ts');
    this.#prefix = `t${++topologies}`;
    this.folder = mkdtempSync(join(SANDBOX_FOLDER, `${this.#prefix}-`));
  }

  async machine(name: string): Promise<Machine> {
    const machine = new Machine(this, name, `${this.#prefix}-${name}`);
    await run(['ip', 'netns', 'add', machine.namespace]);
    this.machines.push(machine);
    await machine.ip('link set lo up');
    await machine.sysctl({
      // Router solicitations and neighbour discovery would only blur captures and counters.
      'net.ipv6.conf.all.disable_ipv6': 1,
      'net.ipv6.conf.default.disable_ipv6': 1,
      // Tests ask for many ICMP errors in a row.
      'net.ipv4.icmp_ratelimit': 0,
      // The default may be BBR, whose pacing over veth measures the timer and not the path.
      'net.ipv4.tcp_congestion_control': 'reno',
    });
    return machine;
  }

  /** Connects two machines with a veth pair. */
  async cable(a: Plug, b: Plug): Promise<void> {
    await a.machine.ip(`link add ${a.device} type veth peer name ${b.device} netns ${b.machine.namespace}`);
    await Promise.all([a, b].map((plug) => this.#plugIn(plug)));
  }

  async #plugIn({ machine, device, addresses = [], mtuBytes = 1500 }: Plug): Promise<void> {
    await machine.ip(
      ...addresses.map((address) => `addr add ${address} dev ${device}`),
      `link set ${device} mtu ${mtuBytes} up`,
    );
  }

  keep(daemon: Daemon): Daemon {
    this.#daemons.push(daemon);
    return daemon;
  }

  /** What every process wrote: printed when a test fails. */
  logs(): string {
    return this.#daemons
      .filter((daemon) => daemon.log() !== '')
      .map((daemon) => `---- ${daemon.name} (${daemon.isRunning ? 'running' : 'ended'})\n${daemon.log()}`)
      .join('\n');
  }

  /** Ends every process and takes the namespaces down, and with them their devices and routes. */
  async close(): Promise<void> {
    await Promise.all(this.#daemons.map((daemon) => daemon.kill('SIGKILL')));
    const lines = this.machines.map((machine) => `netns del ${machine.namespace}`);
    if (lines.length > 0) await run(['ip', '-batch', '-'], `${lines.join('\n')}\n`);
  }
}
