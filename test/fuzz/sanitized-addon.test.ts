import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findProgram } from '../../src/measure/sandbox.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
/** The tests that call the addon and need no device; those of its installation build one of their own. */
const TESTS = /^(?!install|load\.).*\.test\.js$/;

function runtimeOf(library: string): string {
  return spawnSync('cc', [`-print-file-name=${library}`], { encoding: 'utf8' }).stdout?.trim() ?? '';
}

/** A name without a path: the compiler has no such file. */
const lacks =
  findProgram('cc') === undefined || !runtimeOf('libasan.so').startsWith('/')
    ? 'gcc with libasan is not installed (Debian package build-essential)'
    : undefined;

/** The fuzzed programs play Node-API themselves; this is the real one, with every good and bad argument that the unit tests know. */
describe('the addon with AddressSanitizer and UndefinedBehaviorSanitizer', { skip: lacks ?? false }, () => {
  let folder = '';

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'isthmus-sanitized-'));
    for (const name of ['native', 'dist', 'package.json', 'docs']) {
      cpSync(join(ROOT, name), join(folder, name), {
        recursive: true,
        filter: (path) => !path.includes(join('native', 'build')) && !path.includes('prebuilds'),
      });
    }
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    const environment = { ...process.env, ISTHMUS_SANITIZE: '1' };
    const built = spawnSync(process.execPath, ['native/install.mjs'], {
      cwd: folder,
      env: environment,
      encoding: 'utf8',
    });
    assert.equal(built.status, 0, built.stdout + built.stderr);
    assert.match(built.stdout + built.stderr, /sanitizers/);
  });

  after(() => rmSync(folder, { recursive: true, force: true }));

  test('passes the unit tests of what calls it', () => {
    const tests = join(folder, 'dist/test/unit/io');
    const files = readdirSync(tests).filter((name) => TESTS.test(name));
    assert.ok(files.length > 5, 'there are tests');
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      LD_PRELOAD: runtimeOf('libasan.so'),
      // Node frees little at its end, which is no leak of the addon's.
      ASAN_OPTIONS: 'detect_leaks=0',
      UBSAN_OPTIONS: 'print_stacktrace=1',
    };
    delete env.NODE_TEST_CONTEXT;
    const words = [
      '--test',
      '--test-concurrency=1',
      '--test-reporter=tap',
      ...files.map((file) => join(tests, file)),
    ];
    const run = spawnSync(process.execPath, words, {
      cwd: folder,
      env,
      encoding: 'utf8',
      maxBuffer: 64 << 20,
    });
    const failed = run.stdout.split('\n').filter((line) => /^\s*not ok|runtime error|ERROR: /.test(line));
    assert.equal(run.status, 0, `${failed.join('\n')}\n${run.stderr.slice(-4000)}`);
    assert.doesNotMatch(run.stdout + run.stderr, /runtime error|ERROR: AddressSanitizer/);
  });
});
