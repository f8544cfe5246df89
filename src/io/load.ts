import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { GatewayError, messageOf } from '../base/errors.ts';
import type { Native } from './native.ts';

/**
 * Loads the addon: the prebuilt binary of this architecture, else the one compiled at installation. Works in the main thread and in
 * workers; each thread gets its own functions, file descriptors are the process's. Throws ISTHMUS_ERR_ADDON.
 */
export function loadNative(from: string = import.meta.url): Native {
  const root = packageRoot(dirname(fileURLToPath(from)));
  const candidates = [
    join(root, 'native', 'prebuilds', `linux-${process.arch}`, 'isthmus.node'),
    join(root, 'native', 'build', 'Release', 'isthmus.node'),
  ];
  const require = createRequire(from);
  const failures: string[] = [];
  for (const file of candidates) {
    if (!existsSync(file)) continue;
    try {
      return require(file) as Native;
    } catch (cause) {
      // A prebuilt binary for another C library does not end the search: the compiled one may be there.
      failures.push(`${file}: ${messageOf(cause).split('\n')[0]}`);
    }
  }
  const why =
    failures.length === 0 ? `no binary for linux-${process.arch} under ${root}` : failures.join('; ');
  const build = `node ${join(root, 'native', 'install.mjs')}`;
  throw new GatewayError(
    'ISTHMUS_ERR_ADDON',
    `the native addon cannot be loaded (${why}); build it: ${build}`,
  );
}

/**
 * The folder that holds native/install.mjs, searched upward: the compiled file lies in dist/src/io, deeper or shallower where
 * someone compiled into another folder.
 */
function packageRoot(start: string): string {
  for (let folder = start; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'native', 'install.mjs'))) return folder;
    if (folder === dirname(folder)) {
      throw new GatewayError('ISTHMUS_ERR_ADDON', `no native/install.mjs in any folder above ${start}`);
    }
  }
}
