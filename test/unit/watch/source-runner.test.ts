import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatCidr, parseCidr } from '../../../src/base/address.ts';
import { type Logger, silentLogger } from '../../../src/base/log.ts';
import type { ClaimUpdate } from '../../../src/table/claim.ts';
import { Table } from '../../../src/table/table.ts';
import { CHILDREN_MAX, RESTART_AFTER_MS, SourceRunner } from '../../../src/watch/source-runner.ts';
import { Wake } from '../../../src/watch/wake.ts';
import type { Watcher } from '../../../src/watch/watcher.ts';
import { StepClock } from '../host/step-clock.ts';
import { until } from './running-watcher.ts';

const OPTIONS = { priority: 0, staleAfterMs: Number.POSITIVE_INFINITY, holdMs: 0 };

function replace(...cidrs: string[]): ClaimUpdate {
  const gateways = [{ address: 0xac1f_0002, weight: 1 }];
  const claims = cidrs.map((cidr) => ({ id: cidr, cidr: parseCidr(cidr), cluster: 'west', gateways }));
  return { kind: 'replace', claims };
}

/** Says what it is told to say. Ends when told to, but only after `mayEnd`. */
class Puppet implements Watcher {
  readonly name: string;
  starts = 0;
  ends = 0;
  mayEnd: Promise<void> = Promise.resolve();
  readonly #says: (ClaimUpdate | Error)[] = [];
  readonly #wake = new Wake();

  constructor(name: string, ...says: ClaimUpdate[]) {
    this.name = name;
    this.#says.push(...says);
  }

  say(what: ClaimUpdate | Error): void {
    this.#says.push(what);
    this.#wake.ring();
  }

  async *watch(signal: AbortSignal): AsyncIterable<ClaimUpdate> {
    this.starts += 1;
    signal.addEventListener('abort', () => this.#wake.ring(), { once: true });
    try {
      while (!signal.aborted) {
        const next = this.#says.shift();
        if (next instanceof Error) throw next;
        if (next !== undefined) yield next;
        else await this.#wake.wait();
      }
      await this.mayEnd;
      yield replace('10.66.0.0/16');
    } finally {
      this.ends += 1;
    }
  }
}

function world(snapshot?: { from: Table }) {
  const table = new Table();
  const clock = new StepClock();
  const errors: string[] = [];
  const logger: Logger = { ...silentLogger, error: (fields) => errors.push(JSON.stringify(fields)) };
  let changes = 0;
  const runner = new SourceRunner(table, clock, logger, () => {
    changes += 1;
  });
  const routes = () => Array.from(table.routes(), ({ cidr }) => formatCidr(cidr)).sort();
  const shows = (...cidrs: string[]) => until(() => routes().join() === cidrs.join(), routes);
  const restore = () => snapshot !== undefined && table.restore(snapshot.from.snapshot(), 0, 0);
  const names = () => table.sources().map(({ name }) => name);
  return { table, clock, errors, runner, routes, shows, restore, names, changes: () => changes };
}

describe('a source that runs', () => {
  it('resolves what added it when it has spoken', async () => {
    const { runner, routes } = world();
    const watcher = new Puppet('file:a');
    const spoken = runner.add(watcher, OPTIONS);
    watcher.say(replace('10.2.0.0/16'));
    await spoken;
    assert.deepEqual(routes(), ['10.2.0.0/16']);
    await runner.stop();
    assert.deepEqual(routes(), ['10.2.0.0/16'], 'its claims stay, and what it says at its end is not heard');
    assert.equal(watcher.ends, 1);
  });

  it('is stale when it fails, and starts again after a while', async () => {
    const { runner, table, clock, errors, shows } = world();
    const watcher = new Puppet('file:a', replace('10.2.0.0/16'));
    await runner.add(watcher, OPTIONS);
    watcher.say(new Error('no more paper'));
    await until(
      () => table.sources()[0]?.state === 'stale',
      () => table.sources(),
    );
    assert.match(errors.join(), /no more paper/);
    assert.equal(watcher.starts, 1);
    watcher.say(replace('10.3.0.0/16'));
    await until(
      () => {
        clock.advance(RESTART_AFTER_MS);
        return watcher.starts === 2;
      },
      () => watcher.starts,
    );
    await shows('10.3.0.0/16');
    await runner.stop();
  });

  it('hands its claims to the one that takes its place, which starts when it has ended', async () => {
    const { runner, routes, shows } = world();
    const first = new Puppet('file:a', replace('10.2.0.0/16', '10.3.0.0/16'));
    await runner.add(first, OPTIONS);
    let mayEnd: () => void = () => {};
    first.mayEnd = new Promise((resolve) => {
      mayEnd = resolve;
    });
    const second = new Puppet('file:a', replace('10.3.0.0/16', '10.4.0.0/16'));
    const replaced = runner.replace(second);
    await Promise.resolve();
    assert.deepEqual([second.starts, routes().length], [0, 2]);
    mayEnd();
    await replaced;
    await shows('10.3.0.0/16', '10.4.0.0/16');
    await runner.stop();
  });

  it('takes its claims along when it is removed', async () => {
    const { runner, names, routes, changes } = world();
    await runner.add(new Puppet('file:a', replace('10.2.0.0/16')), OPTIONS);
    const before = changes();
    await runner.remove('file:a');
    await runner.remove('file:a');
    assert.deepEqual([names(), routes(), changes() - before], [[], [], 1]);
  });

  it('has what is due in the table done in time', async () => {
    const { runner, clock, routes } = world();
    const watcher = new Puppet('file:a', replace('10.2.0.0/16'));
    await runner.add(watcher, { ...OPTIONS, staleAfterMs: 5000 });
    const spoken = new Puppet('file:b', { kind: 'fresh' });
    watcher.say({ kind: 'stale', reason: 'away' });
    await runner.add(spoken, OPTIONS);
    clock.advance(4999);
    assert.deepEqual(routes(), ['10.2.0.0/16']);
    clock.advance(1);
    assert.deepEqual(routes(), []);
    await runner.stop();
  });
});

const PARENT = 'kubernetes:local';
const CHILD = 'kubernetes:local/west';

describe('a source that another one finds', () => {
  it('runs with the options of its parent, those of later too', async () => {
    const { runner, table, clock, shows } = world();
    const children = runner.children(PARENT);
    await runner.add(new Puppet(PARENT, replace()), { ...OPTIONS, staleAfterMs: 1000 });
    const child = new Puppet(CHILD, replace('10.2.0.0/16'), { kind: 'stale', reason: 'away' });
    children.set(child);
    await until(
      () => table.sources()[1]?.state === 'stale',
      () => table.sources(),
    );
    clock.advance(1000);
    await shows();
    child.say({ kind: 'fresh' });
    await shows('10.2.0.0/16');
    runner.setOptions(PARENT, { ...OPTIONS, staleAfterMs: 9000 });
    child.say({ kind: 'stale', reason: 'away' });
    await until(
      () => table.sources()[1]?.state === 'stale',
      () => table.sources(),
    );
    clock.advance(8999);
    assert.equal([...table.routes()].length, 1);
    clock.advance(1);
    assert.equal([...table.routes()].length, 0);
    await runner.stop();
    assert.equal(child.ends, 1);
  });

  it('is started once, is replaced by another of its name, and keeps its claims meanwhile', async () => {
    const { runner, routes, shows } = world();
    const children = runner.children(PARENT);
    await runner.add(new Puppet(PARENT, replace()), OPTIONS);
    const first = new Puppet(CHILD, replace('10.2.0.0/16'));
    children.set(first);
    children.set(first);
    await shows('10.2.0.0/16');
    const [never, second] = [new Puppet(CHILD), new Puppet(CHILD)];
    children.set(never);
    children.set(second);
    await until(
      () => second.starts === 1,
      () => second.starts,
    );
    assert.deepEqual([first.starts, first.ends, never.starts], [1, 1, 0]);
    assert.deepEqual(routes(), ['10.2.0.0/16']);
    second.say(replace('10.3.0.0/16'));
    await shows('10.3.0.0/16');
    await runner.stop();
  });

  it('goes with its claims when its parent no longer retains it, and may come back', async () => {
    const { runner, names, routes, shows } = world();
    const children = runner.children(PARENT);
    await runner.add(new Puppet(PARENT, replace()), OPTIONS);
    const other = new Puppet('kubernetes:local/north', replace('10.4.0.0/16'));
    const west = new Puppet(CHILD, replace('10.2.0.0/16'));
    children.set(west);
    children.set(other);
    await shows('10.2.0.0/16', '10.4.0.0/16');
    children.retain(new Set([other.name]));
    assert.deepEqual([routes(), names()], [['10.4.0.0/16'], [PARENT, other.name]]);
    children.set(new Puppet(CHILD, replace('10.2.0.0/16')));
    await shows('10.2.0.0/16', '10.4.0.0/16');
    assert.equal(west.ends, 1);
    await runner.stop();
  });

  it('ends with its parent, and none is taken from one that has ended', async () => {
    const { runner, names, routes, shows } = world();
    const children = runner.children(PARENT);
    await runner.add(new Puppet(PARENT, replace('10.9.0.0/16')), OPTIONS);
    const child = new Puppet(CHILD, replace('10.2.0.0/16'));
    children.set(child);
    await shows('10.2.0.0/16', '10.9.0.0/16');
    const removed = runner.remove(PARENT);
    children.set(new Puppet(CHILD, replace('10.2.0.0/16')));
    await removed;
    assert.deepEqual([names(), routes()], [[], []]);
    await runner.stop();
    assert.equal(child.ends, 1);
  });

  it('comes back from a snapshot, and is compared with what it says', async () => {
    const before = world();
    const found = before.runner.children(PARENT);
    await before.runner.add(new Puppet(PARENT, replace()), OPTIONS);
    found.set(new Puppet(CHILD, replace('10.2.0.0/16')));
    found.set(new Puppet('kubernetes:local/north', replace('10.4.0.0/16')));
    await before.shows('10.2.0.0/16', '10.4.0.0/16');
    await before.runner.stop();

    const { runner, table, shows, restore } = world({ from: before.table });
    const children = runner.children(PARENT);
    const parent = new Puppet(PARENT);
    const spoken = runner.add(parent, OPTIONS);
    restore();
    await shows('10.2.0.0/16', '10.4.0.0/16');
    parent.say(replace());
    await spoken;
    children.set(new Puppet(CHILD, replace('10.2.0.0/16')));
    await until(
      () => table.sources().find(({ name }) => name === CHILD)?.state === 'fresh',
      () => table.sources(),
    );
    assert.equal([...table.routes()].length, 2);
    children.retain(new Set([CHILD]));
    await shows('10.2.0.0/16');
    await runner.stop();
  });

  it('goes when only a snapshot remembers it and its parent finds no others any more', async () => {
    const before = world();
    await before.runner.add(new Puppet(PARENT, replace('10.9.0.0/16')), OPTIONS);
    before.runner.children(PARENT).set(new Puppet(CHILD, replace('10.2.0.0/16')));
    await before.shows('10.2.0.0/16', '10.9.0.0/16');
    await before.runner.stop();

    const { runner, shows, restore, names } = world({ from: before.table });
    const parent = new Puppet(PARENT);
    const spoken = runner.add(parent, OPTIONS);
    restore();
    await shows('10.2.0.0/16', '10.9.0.0/16');
    parent.say({ kind: 'fresh' });
    await spoken;
    await shows('10.9.0.0/16');
    assert.deepEqual(names(), [PARENT]);
    await runner.stop();
  });

  it('is one too many beyond the limit, which is logged', async () => {
    const { runner, errors, names } = world();
    const children = runner.children(PARENT);
    await runner.add(new Puppet(PARENT, replace()), OPTIONS);
    for (let i = 0; i < CHILDREN_MAX; i++) children.set(new Puppet(`${PARENT}/${i}`));
    assert.deepEqual([errors, names().length], [[], CHILDREN_MAX + 1]);
    children.set(new Puppet(CHILD));
    assert.deepEqual([errors.length, names().length], [1, CHILDREN_MAX + 1]);
    children.set(new Puppet(`${PARENT}/7`));
    assert.equal(errors.length, 1);
    await runner.stop();
  });
});
