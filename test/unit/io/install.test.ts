import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const installer = fileURLToPath(new URL('../../../../native/install.mjs', import.meta.url));

interface Outcome {
  readonly status: number | null;
  readonly lines: string[];
}

/**
 * Runs the installer in an empty package, with nothing on PATH but `programs`: those that are shell scripts here, and the real ones that a
 * script needs. `gyp` is the JavaScript that stands for node-gyp.
 */
function install(
  programs: Record<string, string>,
  options: { gyp?: string; environment?: Record<string, string>; prebuilt?: string } = {},
): Outcome {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-install-'));
  try {
    const [native, path] = [join(folder, 'native'), join(folder, 'bin')];
    mkdirSync(native);
    mkdirSync(path);
    copyFileSync(installer, join(native, 'install.mjs'));
    for (const [name, body] of Object.entries(programs)) {
      writeFileSync(join(path, name), `#!/bin/sh\n${body}\n`);
      chmodSync(join(path, name), 0o755);
    }
    symlinkSync('/bin/sh', join(path, 'sh'));
    const gyp = join(folder, 'node-gyp.cjs');
    if (options.gyp !== undefined) writeFileSync(gyp, options.gyp);
    if (options.prebuilt !== undefined) {
      const place = join(native, 'prebuilds', `linux-${process.arch}`);
      mkdirSync(place, { recursive: true });
      copyFileSync(options.prebuilt, join(place, 'isthmus.node'));
    }
    const run = spawnSync(process.execPath, [join(native, 'install.mjs')], {
      encoding: 'utf8',
      env: { PATH: path, npm_config_node_gyp: gyp, ...options.environment },
    });
    const output = `${run.stdout}${run.stderr}`.replaceAll(folder, '');
    return { status: run.status, lines: output.trimEnd().split('\n') };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const TOOLS = { python3: '', make: '', cc: '' };

describe('the installer of the addon', () => {
  test('a missing compiler is one line with the Debian package', () => {
    const { status, lines } = install({ python3: '', make: '' });
    assert.equal(status, 1);
    assert.deepEqual(lines, [
      'isthmus: compiling the native addon needs a C compiler; on Debian: apt-get install g++',
    ]);
  });

  test('everything that is missing is named at once', () => {
    const { lines } = install({});
    assert.deepEqual(lines, [
      'isthmus: compiling the native addon needs Python 3 and make and a C compiler; on Debian: apt-get install python3 make g++',
    ]);
  });

  test('CC names the compiler, and so is the only one that counts', () => {
    assert.equal(install(TOOLS, { environment: { CC: 'no-such-cc -m64' } }).status, 1);
  });

  test('a failed compilation shows the last lines, says what to do and keeps the whole output', () => {
    const gyp = `for (let i = 1; i <= 99; i++) console.log('line ' + i);
      console.error('stdio.h: No such file or directory'); process.exit(1);`;
    const { status, lines } = install(TOOLS, { gyp });
    assert.equal(status, 1);
    assert.equal(lines.length, 1 + 15 + 1);
    assert.equal(lines[1], 'line 86');
    assert.match(
      lines.at(-1)!,
      /^isthmus: .*apt-get install libc6-dev \(whole output: \/native\/build\.log\)$/,
    );
  });

  test('headers that cannot be downloaded are told from a compiler that fails', () => {
    const gyp = `console.error('gyp http GET https://nodejs.org/download/release/v1/node-v1-headers.tar.gz');
      console.error('This is related to network connectivity'); process.exit(1);`;
    assert.match(install(TOOLS, { gyp }).lines.at(-1)!, /headers cannot be downloaded.*npm_config_nodedir/);
  });

  test('a compilation that leaves no binary is a failure', () => {
    assert.equal(install(TOOLS, { gyp: '' }).status, 1);
  });

  test('a success is brief, and a missing raw-socket is one line', () => {
    const binary = fileURLToPath(new URL('../../../../native/build/Release/isthmus.node', import.meta.url));
    const gyp = `const fs = require('node:fs'); const path = require('node:path');
      const place = path.join(process.argv[4], 'build', 'Release'); fs.mkdirSync(place, { recursive: true });
      console.log('much output'); fs.copyFileSync(${JSON.stringify(binary)}, path.join(place, 'isthmus.node'));`;
    const { status, lines } = install(TOOLS, { gyp });
    assert.equal(status, 0);
    assert.deepEqual(lines.slice(0, 2), ['isthmus: native addon: compiling', 'isthmus: native addon: ready']);
    assert.match(lines[2]!, /^isthmus: the optional package raw-socket is not compiled/);
    assert.equal(lines.length, 3);
  });

  test('a prebuilt binary that loads needs no compiler', () => {
    const prebuilt = fileURLToPath(new URL('../../../../native/build/Release/isthmus.node', import.meta.url));
    const { status, lines } = install({}, { prebuilt });
    assert.equal(status, 0);
    assert.equal(lines[0], 'isthmus: native addon: prebuilt binary');
  });

  test('a prebuilt binary that does not load is passed over', () => {
    const { status, lines } = install({}, { prebuilt: installer });
    assert.equal(status, 1);
    assert.match(lines[0]!, /needs Python 3/);
  });
});
