import assert from 'node:assert/strict';
import { renameSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { ConfigFileWatch } from '../../../src/watch/config-file.ts';
import { temporaryFolder, until } from './running-watcher.ts';

const folder = temporaryFolder();
after(folder.remove);

describe('the watch on the configuration file', () => {
  it('tells of new content, however it gets there, and of nothing else', async () => {
    const file = join(folder.path, 'isthmus.yaml');
    writeFileSync(file, 'one');
    let changes = 0;
    const watch = new ConfigFileWatch(file, () => changes++);
    const changed = (count: number) =>
      until(
        () => changes === count,
        () => changes,
      );
    writeFileSync(file, 'two');
    await changed(1);
    writeFileSync(`${file}.next`, 'three');
    renameSync(`${file}.next`, file);
    await changed(2);
    utimesSync(file, 1, 1);
    unlinkSync(file);
    writeFileSync(join(folder.path, 'other'), 'x');
    writeFileSync(file, 'three');
    writeFileSync(file, 'four');
    await changed(3);
    watch.close();
    assert.equal(changes, 3);
  });
});
