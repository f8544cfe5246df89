import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { nftRunner } from '../../../src/host/nat-program.ts';

const folder = mkdtempSync(join(tmpdir(), 'isthmus-nft-'));
after(() => rmSync(folder, { recursive: true }));

/** A program in the place of nft. */
function program(name: string, script: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

test('what nft prints comes back, and its input reaches it', async () => {
  const run = nftRunner(program('echo', 'echo "$1 $2"; cat'));
  assert.deepEqual(await run(['-f', '-'], 'table ip x\n'), { output: '-f -\ntable ip x\n' });
});

test('a program that is not there is named with its package', async () => {
  const outcome = await nftRunner(join(folder, 'nowhere'))(['-f', '-'], 'x');
  assert.deepEqual(outcome, { failure: 'the program nft is missing; install it (Debian package nftables)' });
});

test('a program that may not be executed is no missing one', async () => {
  const path = join(folder, 'plain');
  writeFileSync(path, '');
  const outcome = await nftRunner(path)([], '');
  assert.match('failure' in outcome ? outcome.failure : '', /^the program nft cannot be started: .*EACCES/);
});

test('the first line of a complaint is the failure, without the rule and the carets', async () => {
  const run = nftRunner(program('fail', 'echo "Error: syntax error" >&2; echo "  ^^^" >&2; exit 1'));
  assert.deepEqual(await run([], 'much input that nobody reads'), {
    failure: 'nft ended with 1: Error: syntax error',
  });
});

test('a lack of permission says which capability is needed', async () => {
  const run = nftRunner(
    program('eperm', 'echo "Error: Could not process rule: Operation not permitted" >&2; exit 1'),
  );
  const outcome = await run([], '');
  assert.match('failure' in outcome ? outcome.failure : '', /needs CAP_NET_ADMIN/);
});

test('a program that hangs is ended', async () => {
  const run = nftRunner(program('hang', 'exec sleep 60'), 50);
  assert.deepEqual(await run([], ''), { failure: 'nft was ended by SIGKILL after 0.05 s' });
});
