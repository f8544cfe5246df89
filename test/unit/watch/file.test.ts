import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import {
  clusterText,
  type RunningWatcher,
  temporaryFolder,
  until,
  watchPath,
  writeCluster,
} from './running-watcher.ts';

let folder: ReturnType<typeof temporaryFolder>;
let running: RunningWatcher | undefined;
let file = '';

beforeEach(() => {
  folder = temporaryFolder();
  file = join(folder.path, 'west.yaml');
});
afterEach(async () => {
  await running?.stop();
  folder.remove();
});

const start = (...args: Parameters<typeof watchPath>): RunningWatcher => {
  running = watchPath(...args);
  return running;
};

describe('a watched file', () => {
  it('gives its clusters, and then each edit in place', async () => {
    writeCluster(file, 'west', '10.2.0.0/16', '10.3.0.0/16');
    const source = start(file);
    await source.shows('10.2.0.0/16 west', '10.3.0.0/16 west');
    assert.equal(source.source.name, `file:${file}`);
    assert.deepEqual([...source.table.routes()][0]?.origins, [`file:${file}/west.yaml:west:10.2.0.0/16`]);
    writeCluster(file, 'west', '10.3.0.0/16', '10.4.0.0/16');
    await source.shows('10.3.0.0/16 west', '10.4.0.0/16 west');
    assert.equal(source.updates.length, 2, 'no more was said than there was to say');
  });

  it('may be JSON, and may be a bare list', async () => {
    const json = join(folder.path, 'x.json');
    const cluster = {
      name: 'west',
      cidrs: ['10.2.0.0/16'],
      gateways: [{ address: '172.31.0.2', weight: 3 }],
    };
    writeFileSync(json, JSON.stringify([cluster]));
    const source = start(json);
    await source.shows('10.2.0.0/16 west');
    writeFileSync(json, JSON.stringify({ clusters: [{ ...cluster, name: 'north' }] }));
    await source.shows('10.2.0.0/16 north');
  });

  it('is seen when another file is renamed over it, again and again', async () => {
    writeCluster(file, 'west', '10.2.0.0/16');
    const source = start(file);
    await source.shows('10.2.0.0/16 west');
    for (let i = 3; i < 8; i++) {
      writeCluster(`${file}.next`, 'west', `10.${i}.0.0/16`);
      renameSync(`${file}.next`, file);
      await source.shows(`10.${i}.0.0/16 west`);
    }
  });

  it('is seen when it is a link of a ConfigMap volume and kubelet swaps ..data', async () => {
    const publish = configMap(folder.path);
    publish(1, { 'west.yaml': clusterText('west', '10.2.0.0/16') });
    symlinkSync('..data/west.yaml', file);
    const source = start(file);
    await source.shows('10.2.0.0/16 west');
    for (let version = 2; version < 6; version++) {
      publish(version, { 'west.yaml': clusterText('west', `10.${version}.0.0/16`) });
      await source.shows(`10.${version}.0.0/16 west`);
    }
  });

  it('is seen behind a link to another folder', async () => {
    mkdirSync(join(folder.path, 'elsewhere'));
    const target = join(folder.path, 'elsewhere', 'real.yaml');
    writeCluster(target, 'west', '10.2.0.0/16');
    symlinkSync(target, file);
    const source = start(file);
    await source.shows('10.2.0.0/16 west');
    writeCluster(target, 'west', '10.3.0.0/16');
    await source.shows('10.3.0.0/16 west');
  });

  it('keeps its last claims when it is broken, says where, and goes on when it is repaired', async () => {
    writeCluster(file, 'west', '10.2.0.0/16');
    const source = start(file);
    await source.shows('10.2.0.0/16 west');
    writeFileSync(
      file,
      'clusters:\n  - name: west\n    cidrs: [10.2.0.0/16, 10.3.0.1/16]\n    gateways: [{address: 172.31.0.2}]\n',
    );
    await source.isStale(/west\.yaml:3:26: clusters\[0\]\.cidrs\[1\]: .*10\.3\.0\.0\/16/);
    assert.deepEqual(source.routes, ['10.2.0.0/16 west']);
    assert.equal([...source.table.routes()][0]?.stale, true);
    writeCluster(file, 'west', '10.2.0.0/16', '10.3.0.0/16');
    await source.shows('10.2.0.0/16 west', '10.3.0.0/16 west');
    await source.isFresh();
  });

  it('keeps its last claims while it is half-written, and while it is empty', async () => {
    const text = clusterText('west', '10.2.0.0/16', '10.3.0.0/16');
    writeFileSync(file, text);
    const source = start(file);
    await source.shows('10.2.0.0/16 west', '10.3.0.0/16 west');
    truncateSync(file, 0);
    await source.isStale(/west\.yaml:1:1/);
    writeFileSync(file, text.slice(0, 50));
    await source.isStale(/west\.yaml:[23]:/);
    assert.equal(source.routes.length, 2);
    appendFileSync(file, text.slice(50));
    await source.isFresh();
    assert.equal(source.routes.length, 2);
    assert.deepEqual(source.updates.filter(({ kind }) => kind === 'replace').length, 2);
  });

  it('is fresh again when a broken file gets its old content back', async () => {
    writeCluster(file, 'west', '10.2.0.0/16');
    const source = start(file);
    await source.shows('10.2.0.0/16 west');
    writeFileSync(file, '}');
    await source.isStale(/west\.yaml/);
    writeCluster(file, 'west', '10.2.0.0/16');
    await source.isFresh();
  });

  it('takes its claims along when it is deleted, and brings them when it appears', async () => {
    const source = start(file);
    await source.isStale(/ENOENT/);
    writeCluster(file, 'west', '10.2.0.0/16');
    await source.shows('10.2.0.0/16 west');
    unlinkSync(file);
    await source.shows();
    await source.isStale(/west\.yaml was deleted/);
    writeCluster(file, 'west', '10.2.0.0/16');
    await source.shows('10.2.0.0/16 west');
    await source.isFresh();
  });

  it('may appear in a folder that does not exist yet', async () => {
    const late = join(folder.path, 'not', 'yet', 'west.yaml');
    const source = start(late);
    await source.isStale(/ENOENT/);
    mkdirSync(join(late, '..'), { recursive: true });
    writeCluster(late, 'west', '10.2.0.0/16');
    await source.shows('10.2.0.0/16 west');
  });

  it('keeps its claims when its whole folder goes: that is an unmounted volume, not a wish', async () => {
    const inner = join(folder.path, 'volume');
    mkdirSync(inner);
    writeCluster(join(inner, 'west.yaml'), 'west', '10.2.0.0/16');
    const source = start(join(inner, 'west.yaml'));
    await source.shows('10.2.0.0/16 west');
    renameSync(inner, `${inner}-away`);
    await source.isStale(/ENOENT/);
    assert.deepEqual(source.routes, ['10.2.0.0/16 west']);
    mkdirSync(inner);
    writeCluster(join(inner, 'west.yaml'), 'west', '10.3.0.0/16');
    await source.shows('10.3.0.0/16 west');
  });

  it('keeps its claims when it may not be read any more', async () => {
    writeCluster(file, 'west', '10.2.0.0/16');
    const source = start(file);
    await source.shows('10.2.0.0/16 west');
    await asNobody(folder.path, async () => {
      chownSync(file, 65_534, 65_534);
      chmodSync(file, 0o000);
      process.seteuid?.(65_534);
      await source.isStale(/EACCES.*west\.yaml/);
      assert.deepEqual(source.routes, ['10.2.0.0/16 west']);
      chmodSync(file, 0o600);
      await source.isFresh();
    });
  });

  it('is refused beyond its size limit and taken at it', async () => {
    const text = clusterText('west', '10.2.0.0/16');
    writeFileSync(file, text);
    const source = start(file, { limits: { fileBytes: text.length } });
    await source.shows('10.2.0.0/16 west');
    appendFileSync(file, '\n');
    await source.isStale(
      new RegExp(`west\\.yaml: expected at most ${text.length} bytes, got ${text.length + 1}`),
    );
    assert.deepEqual(source.routes, ['10.2.0.0/16 west']);
    writeFileSync(file, text);
    await source.isFresh();
  });

  it('may be no pipe: one without a writer would block for ever', async () => {
    execFileSync('mkfifo', [file]);
    const source = start(file);
    await source.isStale(/expected a regular file/);
  });

  it('must be UTF-8', async () => {
    writeFileSync(file, Buffer.from([0x61, 0xff, 0xfe]));
    const source = start(file);
    await source.isStale(/west\.yaml: expected UTF-8/);
  });

  it('says nothing when it is only touched', async () => {
    writeCluster(file, 'west', '10.2.0.0/16');
    const source = start(file);
    await source.shows('10.2.0.0/16 west');
    const beside = join(folder.path, 'beside.yaml');
    for (let i = 1; i < 5; i++) {
      utimesSync(file, i, i);
      writeFileSync(beside, `# ${i}`);
      writeCluster(file, 'west', '10.2.0.0/16');
    }
    writeCluster(file, 'west', '10.3.0.0/16');
    await source.shows('10.3.0.0/16 west');
    assert.equal(source.updates.length, 2);
  });

  it('is found by the poll where events do not reach', async () => {
    // A link in the middle of the path of a link: no folder around the path changes when the last target does.
    const far = join(folder.path, 'far');
    mkdirSync(join(folder.path, 'clusters'));
    mkdirSync(far);
    writeCluster(join(far, 'west.yaml'), 'west', '10.2.0.0/16');
    symlinkSync(join(far, 'west.yaml'), join(folder.path, 'clusters', 'west.yaml'));
    const source = start(join(folder.path, 'clusters'), { pollIntervalMs: 20 });
    await source.shows('10.2.0.0/16 west');
    writeCluster(join(far, 'west.yaml'), 'west', '10.3.0.0/16');
    await source.shows('10.3.0.0/16 west');
  });

  it('ends in the right claims after 1,000 edits in a row, by all the ways to edit', async () => {
    writeCluster(file, 'west', '10.2.0.0/16');
    const source = start(file);
    await source.shows('10.2.0.0/16 west');
    for (let i = 0; i < 1000; i++) {
      const text = clusterText('west', '10.2.0.0/16', `10.100.${i >> 2}.${(i & 3) * 64}/26`);
      if (i % 3 === 0) {
        writeFileSync(`${file}.next`, text);
        renameSync(`${file}.next`, file);
      } else if (i % 3 === 1) {
        unlinkSync(file);
        writeFileSync(file, text);
      } else writeFileSync(file, text);
      // The watcher gets its turns in between, as it does when a person or a program edits.
      if (i % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await source.shows('10.2.0.0/16 west', '10.100.249.192/26 west');
    await source.isFresh();
  });

  it('ends when it is told to, also between two changes', async () => {
    writeCluster(file, 'west', '10.2.0.0/16');
    const source = start(file);
    await source.shows('10.2.0.0/16 west');
    await source.stop();
    const { length } = source.updates;
    writeCluster(file, 'west', '10.3.0.0/16');
    assert.equal(source.updates.length, length);
  });
});

describe('a watched folder', () => {
  const inFolder = (name: string) => join(folder.path, name);

  it('gives the clusters of its *.yaml, *.yml and *.json, and of nothing else', async () => {
    writeCluster(inFolder('a.yaml'), 'west', '10.2.0.0/16');
    writeCluster(inFolder('b.yml'), 'north', '10.3.0.0/16');
    writeCluster(inFolder('c.json'), 'south', '10.4.0.0/16');
    for (const name of ['.hidden.yaml', 'd.yaml~', 'README.md', '.a.yaml.swp'])
      writeFileSync(inFolder(name), '{');
    const source = start(folder.path);
    await source.shows('10.2.0.0/16 west', '10.3.0.0/16 north', '10.4.0.0/16 south');
    await source.isFresh();
  });

  it('follows files that come, change and go', async () => {
    const source = start(folder.path);
    await source.isFresh();
    assert.deepEqual(source.routes, []);
    writeCluster(inFolder('a.yaml'), 'west', '10.2.0.0/16');
    await source.shows('10.2.0.0/16 west');
    writeCluster(inFolder('b.yaml'), 'west', '10.3.0.0/16');
    await source.shows('10.2.0.0/16 west', '10.3.0.0/16 west');
    renameSync(inFolder('a.yaml'), inFolder('c.yaml'));
    await until(
      () => [...source.table.routes()].some(({ origins }) => origins[0]?.includes('/c.yaml:') ?? false),
      () => source.routes,
    );
    unlinkSync(inFolder('b.yaml'));
    await source.shows('10.2.0.0/16 west');
  });

  it('is not held back by one bad file', async () => {
    writeCluster(inFolder('a.yaml'), 'west', '10.2.0.0/16');
    writeCluster(inFolder('b.yaml'), 'north', '10.3.0.0/16');
    const source = start(folder.path);
    await source.shows('10.2.0.0/16 west', '10.3.0.0/16 north');
    writeFileSync(inFolder('a.yaml'), 'clusters: 7\n');
    await source.isStale(/a\.yaml:1:11: clusters/);
    writeCluster(inFolder('b.yaml'), 'north', '10.4.0.0/16');
    writeCluster(inFolder('c.yaml'), 'south', '10.5.0.0/16');
    await source.shows('10.2.0.0/16 west', '10.4.0.0/16 north', '10.5.0.0/16 south');
    unlinkSync(inFolder('b.yaml'));
    await source.shows('10.2.0.0/16 west', '10.5.0.0/16 south');
    await source.isStale(/a\.yaml/);
    unlinkSync(inFolder('a.yaml'));
    await source.shows('10.5.0.0/16 south');
    await source.isFresh();
  });

  it('does not lose what a broken file said before a restart', async () => {
    writeCluster(inFolder('a.yaml'), 'west', '10.2.0.0/16');
    writeCluster(inFolder('b.yaml'), 'north', '10.3.0.0/16');
    const before = start(folder.path);
    await before.shows('10.2.0.0/16 west', '10.3.0.0/16 north');
    await before.stop();
    writeFileSync(inFolder('a.yaml'), 'clusters: [');
    writeCluster(inFolder('c.yaml'), 'south', '10.5.0.0/16');
    const source = start(folder.path, {}, before.table.snapshot());
    await source.shows('10.2.0.0/16 west', '10.3.0.0/16 north', '10.5.0.0/16 south');
    await source.isStale(/a\.yaml/);
    unlinkSync(inFolder('c.yaml'));
    await source.shows('10.2.0.0/16 west', '10.3.0.0/16 north');
    writeCluster(inFolder('a.yaml'), 'west', '10.9.0.0/16');
    await source.shows('10.9.0.0/16 west', '10.3.0.0/16 north');
    await source.isFresh();
  });

  it('is away as a whole when none of its files can be understood', async () => {
    writeCluster(inFolder('a.yaml'), 'west', '10.2.0.0/16');
    const before = start(folder.path);
    await before.shows('10.2.0.0/16 west');
    await before.stop();
    writeFileSync(inFolder('a.yaml'), '');
    const source = start(folder.path, {}, before.table.snapshot());
    await until(
      () => source.updates.length > 0,
      () => source.updates,
    );
    assert.deepEqual(
      source.updates.map(({ kind }) => kind),
      ['stale'],
    );
    assert.deepEqual(source.routes, ['10.2.0.0/16 west']);
  });

  it('keeps its claims when it is removed, and follows the one that is made in its place', async () => {
    const inner = inFolder('clusters.d');
    mkdirSync(inner);
    writeCluster(join(inner, 'a.yaml'), 'west', '10.2.0.0/16');
    const source = start(inner);
    await source.shows('10.2.0.0/16 west');
    for (let i = 3; i < 6; i++) {
      renameSync(inner, `${inner}-${i}`);
      await source.isStale(/ENOENT/);
      assert.equal(source.routes.length, 1);
      mkdirSync(inner);
      writeCluster(join(inner, 'a.yaml'), 'west', `10.${i}.0.0/16`);
      await source.shows(`10.${i}.0.0/16 west`);
    }
    rmSync(inner, { recursive: true });
    await source.isStale(/ENOENT/);
    assert.deepEqual(source.routes, ['10.5.0.0/16 west']);
  });

  it('follows a ConfigMap volume through the swap of ..data', async () => {
    const publish = configMap(folder.path);
    publish(1, {
      'a.yaml': clusterText('west', '10.2.0.0/16'),
      'b.yaml': clusterText('north', '10.3.0.0/16'),
    });
    symlinkSync('..data/a.yaml', inFolder('a.yaml'));
    symlinkSync('..data/b.yaml', inFolder('b.yaml'));
    const source = start(folder.path);
    await source.shows('10.2.0.0/16 west', '10.3.0.0/16 north');
    publish(2, {
      'a.yaml': clusterText('west', '10.4.0.0/16'),
      'b.yaml': clusterText('north', '10.3.0.0/16'),
    });
    await source.shows('10.4.0.0/16 west', '10.3.0.0/16 north');
    const seen = source.updates.length;
    publish(3, {
      'a.yaml': clusterText('west', '10.5.0.0/16'),
      'b.yaml': clusterText('north', '10.6.0.0/16'),
    });
    await source.shows('10.5.0.0/16 west', '10.6.0.0/16 north');
    assert.equal(source.updates.length, seen + 1, 'both files in one step');
  });

  it('may be a link to a folder that is swapped', async () => {
    for (const [name, cidr] of [
      ['one', '10.2.0.0/16'],
      ['two', '10.3.0.0/16'],
    ] as const) {
      mkdirSync(inFolder(name));
      writeCluster(join(inFolder(name), 'a.yaml'), 'west', cidr);
    }
    symlinkSync('one', inFolder('current'));
    const source = start(inFolder('current'));
    await source.shows('10.2.0.0/16 west');
    symlinkSync('two', inFolder('next'));
    renameSync(inFolder('next'), inFolder('current'));
    await source.shows('10.3.0.0/16 west');
    writeCluster(join(inFolder('two'), 'a.yaml'), 'west', '10.4.0.0/16');
    await source.shows('10.4.0.0/16 west');
  });

  it('reads as many files as its limit, and a new file does not push out an old one', async () => {
    writeCluster(inFolder('m.yaml'), 'west', '10.2.0.0/16');
    writeCluster(inFolder('n.yaml'), 'north', '10.3.0.0/16');
    const source = start(folder.path, { limits: { files: 2 } });
    await source.shows('10.2.0.0/16 west', '10.3.0.0/16 north');
    await source.isFresh();
    writeCluster(inFolder('a.yaml'), 'south', '10.4.0.0/16');
    await source.isStale(/has 3 files, at most 2 are read; left out are a\.yaml/);
    assert.deepEqual(source.routes, ['10.2.0.0/16 west', '10.3.0.0/16 north']);
    unlinkSync(inFolder('m.yaml'));
    await source.shows('10.3.0.0/16 north', '10.4.0.0/16 south');
    await source.isFresh();
  });

  it('reports a folder called like a file, and a link that leads nowhere', async () => {
    writeCluster(inFolder('a.yaml'), 'west', '10.2.0.0/16');
    mkdirSync(inFolder('b.yaml'));
    symlinkSync('nowhere', inFolder('c.yaml'));
    const source = start(folder.path);
    await source.shows('10.2.0.0/16 west');
    await source.isStale(/b\.yaml: expected a regular file.*ENOENT.*c\.yaml/);
  });

  it('shows three of many bad files and counts the rest', async () => {
    for (let i = 0; i < 5; i++) writeFileSync(inFolder(`${i}.yaml`), 'x');
    const source = start(folder.path);
    await source.isStale(/0\.yaml.*1\.yaml.*2\.yaml.*; and 2 more files$/);
  });
});

/** What kubelet does: a new folder, a new link beside, and one rename (pkg/volume/util/atomic_writer.go). */
function configMap(volume: string): (version: number, files: Readonly<Record<string, string>>) => void {
  return (version, files) => {
    const target = `..2026_${version}`;
    mkdirSync(join(volume, target));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(volume, target, name), text);
    symlinkSync(target, join(volume, '..data_tmp'));
    renameSync(join(volume, '..data_tmp'), join(volume, '..data'));
    if (version > 1) rmSync(join(volume, `..2026_${version - 1}`), { recursive: true });
  };
}

/** Root may read everything, so a test of permissions has to be somebody else where it runs as root. */
async function asNobody(path: string, test: () => Promise<void>): Promise<void> {
  if (process.geteuid?.() === 0) chownSync(path, 65_534, 65_534);
  const before = process.geteuid?.() ?? 0;
  try {
    await test();
  } finally {
    process.seteuid?.(before);
  }
}
