import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { GatewayError } from '../../../src/base/errors.ts';
import { loadNative } from '../../../src/io/load.ts';

function inFolder(body: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-load-'));
  try {
    body(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function refusal(from: string): string {
  try {
    loadNative(pathToFileURL(from).href);
  } catch (error) {
    assert.ok(error instanceof GatewayError);
    assert.equal(error.code, 'ISTHMUS_ERR_ADDON');
    assert.equal(error.exitCode, 3);
    assert.ok(!error.message.includes('\n'), 'one line');
    return error.message;
  }
  throw new assert.AssertionError({ message: 'it loaded' });
}

describe('loading the addon', () => {
  test('finds it from the compiled file upward, and gives the same functions each time', () => {
    const native = loadNative();
    assert.ok(native.deviceIndex('lo') > 0);
    assert.equal(native.deviceIndex('no-such-device'), -19);
    assert.equal(loadNative(), native);
  });

  test('without a binary, says in one line how to build it', () => {
    inFolder((folder) => {
      mkdirSync(join(folder, 'native'));
      writeFileSync(join(folder, 'native', 'install.mjs'), '');
      const message = refusal(join(folder, 'dist', 'src', 'io', 'load.js'));
      assert.match(message, /no binary for linux-\S+ under .*; build it: node .*native\/install\.mjs/);
    });
  });

  test('a binary that does not load is named with the reason', () => {
    inFolder((folder) => {
      const place = join(folder, 'native', 'build', 'Release');
      mkdirSync(place, { recursive: true });
      writeFileSync(join(folder, 'native', 'install.mjs'), '');
      writeFileSync(join(place, 'isthmus.node'), 'not a shared object');
      assert.match(refusal(join(folder, 'load.js')), /isthmus\.node: .*(short|ELF)/);
    });
  });

  test('outside of a package, says what it looked for', () => {
    inFolder((folder) => {
      assert.match(refusal(join(folder, 'a', 'load.js')), /no native\/install\.mjs in any folder above/);
    });
  });
});
