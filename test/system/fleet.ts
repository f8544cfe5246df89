import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { poll } from '../../src/measure/topology.ts';
import type { MemberOptions, MemberWord } from './fleet-member.ts';

const PROGRAM = fileURLToPath(new URL('fleet-member.js', import.meta.url));
/** Starting all at once would give each a fiftieth of two cores for the second that a Node process needs to start. */
const STARTED_AT_ONCE = 4;
/** No bound on what is measured, only on how long a test that fails takes. */
const SETTLED_MS_MAX = 60_000;

/** One gateway of the fleet: a process of its own, ended by the kernel with the one that started it. */
export class Member {
  readonly options: MemberOptions;
  readonly routes = new Set<string>();
  /** When it last got each route, on the monotonic clock; those that it lost stay here. */
  readonly gotAt = new Map<string, number>();
  readonly lostAt = new Map<string, number>();
  readonly #child: ChildProcess;
  #announcing: ((at: number) => void) | undefined;
  #state = '';

  constructor(options: MemberOptions) {
    this.options = options;
    const command = [
      'setpriv',
      '--pdeathsig',
      'KILL',
      '--',
      process.execPath,
      PROGRAM,
      JSON.stringify(options),
    ];
    this.#child = spawn(command[0]!, command.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.stdin!.on('error', () => {});
    createInterface({ input: this.#child.stdout! }).on('line', (line) => this.#hear(JSON.parse(line)));
  }

  get state(): string {
    return this.#state;
  }

  /** Gives it these CIDRs; resolves with the time at which it began to announce them. */
  announce(cidrs: readonly string[]): Promise<number> {
    const begun = new Promise<number>((resolve) => {
      this.#announcing = resolve;
    });
    this.#child.stdin!.write(`${JSON.stringify(cidrs)}\n`);
    return begun;
  }

  /** As a power failure does it. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }

  #hear(word: MemberWord): void {
    switch (word.kind) {
      case 'announcing':
        this.#announcing?.(word.at);
        break;
      case 'source':
        this.#state = word.state;
        break;
      case 'routes':
        for (const cidr of word.set) {
          this.routes.add(cidr);
          this.gotAt.set(cidr, word.at);
        }
        for (const cidr of word.removed) {
          this.routes.delete(cidr);
          this.lostAt.set(cidr, word.at);
        }
    }
  }
}

/** Gateways of as many clusters over one etcd: site-1 with 10.1.0.0/16, site-2 with 10.2.0.0/16 and so on. */
export class Fleet {
  readonly members: Member[] = [];
  readonly #endpoint: string;
  readonly #leaseMs: number;

  constructor(endpoint: string, leaseMs: number) {
    this.#endpoint = endpoint;
    this.#leaseMs = leaseMs;
  }

  /** Starts members until there are `count`, and waits until each knows all others. */
  async grow(count: number): Promise<void> {
    while (this.members.length < count) {
      const group = Math.min(STARTED_AT_ONCE, count - this.members.length);
      for (let i = 0; i < group; i++) this.start(this.members.length + 1);
      await this.settled();
    }
  }

  /** Starts the gateway of a site, also in the place of one that was killed. */
  start(site: number): Member {
    const member = new Member({
      ...{ endpoint: this.#endpoint, cluster: `site-${site}`, address: `172.31.1.${site}` },
      ...{ cidrs: [`10.${site}.0.0/16`], leaseMs: this.#leaseMs },
    });
    this.members[site - 1] = member;
    return member;
  }

  /** Each has a route to the CIDRs of all others. */
  async settled(): Promise<void> {
    await this.until('every gateway knows all others', (member) =>
      this.members.every(
        (other) => other === member || other.options.cidrs.every((cidr) => member.routes.has(cidr)),
      ),
    );
  }

  /** Waits until `holds` for all members, or all but one. */
  async until(what: string, holds: (member: Member) => boolean, but?: Member): Promise<void> {
    await poll(what, SETTLED_MS_MAX, () => this.members.every((member) => member === but || holds(member)));
  }

  /** One member announces another CIDR. Resolves, once all others have a route to it, with how long each of them took, in ms. */
  async spread(announcer: Member, cidr: string): Promise<number[]> {
    const begunAt = await announcer.announce([...announcer.options.cidrs, cidr]);
    const others = this.members.filter((member) => member !== announcer);
    await this.until(`all have ${cidr}`, ({ routes }) => routes.has(cidr), announcer);
    return others.map(({ gotAt }) => gotAt.get(cidr)! - begunAt);
  }

  /** The same for a CIDR that it gives up. */
  async withdraw(announcer: Member, cidr: string): Promise<number[]> {
    const begunAt = await announcer.announce(announcer.options.cidrs);
    const others = this.members.filter((member) => member !== announcer);
    await this.until(`none has ${cidr}`, ({ routes }) => !routes.has(cidr), announcer);
    return others.map(({ lostAt }) => lostAt.get(cidr)! - begunAt);
  }

  async close(): Promise<void> {
    await Promise.all(this.members.map((member) => member.kill()));
  }
}
