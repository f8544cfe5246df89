import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { assert } from '../base/assert.ts';

/** The version of this package. Looked for upwards, because compiled files stand one folder deeper than their sources. */
export function readVersion(): string {
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    const file = join(folder, 'package.json');
    if (existsSync(file)) {
      const { name, version } = JSON.parse(readFileSync(file, 'utf8')) as { name?: string; version?: string };
      if (name === 'isthmus' && version !== undefined) return version;
    }
    assert(dirname(folder) !== folder, 'package.json of isthmus stands above its files');
  }
}
