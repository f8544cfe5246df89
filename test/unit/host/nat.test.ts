import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCidr4 } from '../../../src/base/address.ts';
import type { Clock } from '../../../src/base/clock.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { NAT_CHECK_INTERVAL_MS, NatRules } from '../../../src/host/nat.ts';
import type { NatOutcome } from '../../../src/host/nat-program.ts';
import type { NatWish } from '../../../src/host/nat-table.ts';
import type { Link } from '../../../src/io/netlink-link.ts';

const WISH: NatWish = {
  masquerade: 'auto',
  services: [parseCidr4('10.96.0.0/16')],
  local: [parseCidr4('10.1.0.0/16')],
  keepSource: false,
  underlayDevice: 'eth0',
};

const MISSING = 'the program nft is missing; install it (Debian package nftables)';

/** A kernel with one table, which whoever likes may flush, and a clock that stands. */
class FakeHost {
  /** What our table has; undefined while there is none. */
  table: string | undefined;
  failure: string | undefined;
  devices = ['cali1'];
  kernel = '6.1.0';
  factsFailure: string | undefined;
  readonly scripts: string[] = [];
  /** Tells the rules of it, as long as they listen. */
  linksChanged: (() => void) | undefined;
  listings = 0;
  readonly problems: (string | undefined)[] = [];
  timersMade = 0;
  readonly #timers: { readonly delayMs: number; readonly action: () => void }[] = [];

  rules(device = 'isthmus0'): NatRules {
    const clock: Clock = {
      nowMs: () => 0,
      wallMs: () => 0,
      after: (delayMs, action) => {
        const timer = { delayMs, action };
        this.#timers.push(timer);
        this.timersMade += 1;
        return { cancel: () => void this.#timers.splice(this.#timers.indexOf(timer) >>> 0, 1) };
      },
    };
    return new NatRules({
      device,
      clock,
      logger: silentLogger,
      kernel: this.kernel,
      program: async (args, input) => this.#nft(args, input),
      facts: () => {
        if (this.factsFailure !== undefined) throw new Error(this.factsFailure);
        const links = this.devices.map((name) => ({ name, kind: 'veth' }) as Link);
        return { links, away: new Set<string>(), ports: () => undefined };
      },
      watchLinks: (changed) => {
        this.linksChanged = changed;
        return {
          close: () => {
            this.linksChanged = undefined;
          },
        };
      },
      onProblem: (problem) => this.problems.push(problem),
    });
  }

  get delays(): number[] {
    return this.#timers.map(({ delayMs }) => delayMs);
  }

  /** Lets the time of all that waits come. */
  elapse(): void {
    for (const { action } of this.#timers.splice(0)) action();
  }

  #nft(args: readonly string[], input: string): NatOutcome {
    if (this.failure !== undefined) return { failure: this.failure };
    if (args.includes('list')) {
      this.listings += 1;
      return this.table === undefined ? { failure: 'No such file or directory' } : { output: this.table };
    }
    if (input.startsWith('flush set') && this.table === undefined)
      return { failure: 'No such file or directory' };
    this.scripts.push(input);
    const isRemoval = input.startsWith('table') && !input.includes('{');
    this.table = isRemoval ? undefined : `${this.table ?? ''}${input}`;
    return { output: '' };
  }
}

async function applied(host: FakeHost, wish = WISH): Promise<NatRules> {
  const rules = host.rules();
  rules.apply(wish);
  await rules.settled;
  return rules;
}

test('the same wish again changes nothing', async () => {
  const host = new FakeHost();
  const rules = await applied(host);
  assert.equal(host.scripts.length, 1);
  rules.apply({ ...WISH, services: [parseCidr4('10.96.0.0/16')] });
  await rules.settled;
  assert.equal(host.scripts.length, 1);
  rules.apply({ ...WISH, masquerade: 'never' });
  await rules.settled;
  assert.match(host.scripts[1] ?? '', /^table ip isthmus\ndelete table ip isthmus\ntable ip isthmus \{/);
});

test('wishes that follow one another at once are one transaction, of the last', async () => {
  const host = new FakeHost();
  const rules = host.rules();
  rules.apply({ ...WISH, masquerade: 'always' });
  rules.apply({ ...WISH, masquerade: 'never' });
  await rules.settled;
  assert.equal(host.scripts.length, 1);
  assert.doesNotMatch(host.scripts[0] ?? '', /masquerade/);
});

test('without anything to do a table that was left behind is removed, once', async () => {
  const host = new FakeHost();
  host.table = 'of a gateway that was killed';
  const rules = await applied(host, { ...WISH, services: [] });
  assert.equal(host.table, undefined);
  host.elapse();
  await rules.settled;
  assert.deepEqual(host.scripts, ['table ip isthmus\ndelete table ip isthmus\n']);
});

test('devices that come are added after a moment, without a new table', async () => {
  const host = new FakeHost();
  const rules = await applied(host);
  host.devices = ['cali1', 'cali2'];
  host.linksChanged?.();
  host.linksChanged?.();
  assert.deepEqual(host.delays, [NAT_CHECK_INTERVAL_MS, 100]);
  host.elapse();
  await rules.settled;
  assert.deepEqual(host.scripts.slice(1), [
    'flush set ip isthmus near\nadd element ip isthmus near { "cali1", "cali2" }\n',
  ]);
});

test('devices that come while the table is gone bring the whole table back', async () => {
  const host = new FakeHost();
  const rules = await applied(host);
  host.table = undefined;
  host.devices = ['cali2'];
  host.linksChanged?.();
  host.elapse();
  await rules.settled;
  assert.match(host.table ?? '', /elements = \{ "cali2" \}/);
});

test('a table that somebody flushed or changed is put back at the next look', async () => {
  const host = new FakeHost();
  const rules = await applied(host);
  for (const spoiled of [undefined, 'table ip isthmus { }']) {
    host.table = spoiled;
    host.elapse();
    await rules.settled;
    assert.match(host.table ?? '', /chain handed-over/);
  }
  assert.equal(host.scripts.length, 3);
  host.elapse();
  await rules.settled;
  assert.equal(host.scripts.length, 3, 'what is as wished is left alone');
});

test('wishes that come all the time do not put the look at the table off', async () => {
  const host = new FakeHost();
  const rules = await applied(host);
  const looked = host.timersMade;
  for (let i = 0; i < 3; i++) {
    rules.apply(WISH);
    await rules.settled;
  }
  assert.equal(host.timersMade, looked, 'the one that was due still is');
  assert.equal(host.delays.length, 1);
});

test('a missing nft is a problem that names the package, goes on being tried, and ends', async () => {
  const host = new FakeHost();
  host.failure = MISSING;
  const rules = await applied(host);
  host.elapse();
  await rules.settled;
  host.failure = undefined;
  host.elapse();
  await rules.settled;
  assert.deepEqual(host.problems, [`NAT rules for services are not in force: ${MISSING}`, undefined]);
  assert.equal(host.scripts.length, 1);
});

test('a missing nft is no problem where nothing is wished', async () => {
  const host = new FakeHost();
  host.failure = MISSING;
  const rules = await applied(host, { ...WISH, services: [] });
  await rules.remove();
  assert.deepEqual(host.problems, []);
});

test('devices that cannot be read are a problem and no end', async () => {
  const host = new FakeHost();
  host.factsFailure = 'links: EPERM';
  const rules = await applied(host);
  assert.deepEqual(host.problems, ['NAT rules for services are not in force: links: EPERM']);
  host.factsFailure = undefined;
  host.elapse();
  await rules.settled;
  assert.equal(host.problems.at(-1), undefined);
});

for (const [kernel, tooOld] of [
  ['5.6.19-generic', true],
  ['4.18.0-553.el8', true],
  ['5.7.0', false],
  ['6.18.4', false],
] as const) {
  test(`Linux ${kernel} ${tooOld ? 'does not tell' : 'tells'} a chain after routing where a packet came in`, async () => {
    const host = new FakeHost();
    host.kernel = kernel;
    await applied(host);
    assert.equal(host.problems.length, tooOld ? 1 : 0);
    if (tooOld) assert.match(host.problems[0] ?? '', /needs Linux 5\.7, this is /);
  });
}

test('removing ends everything: the table, the look-out, and later wishes', async () => {
  const host = new FakeHost();
  const rules = await applied(host);
  host.linksChanged?.();
  await rules.remove();
  await rules.remove();
  assert.equal(host.table, undefined);
  assert.deepEqual(host.delays, []);
  rules.apply({ ...WISH, masquerade: 'never' });
  await rules.settled;
  assert.equal(host.linksChanged, undefined);
  assert.equal(host.scripts.length, 2);
});

test('a table that cannot be removed any more is said', async () => {
  const host = new FakeHost();
  const rules = await applied(host);
  host.failure = 'nft ended with 1: Operation not permitted';
  await rules.remove();
  assert.deepEqual(host.problems, [
    'NAT rules that are no longer wanted cannot be removed: nft ended with 1: Operation not permitted',
  ]);
});
