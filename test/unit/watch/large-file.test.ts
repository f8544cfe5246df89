import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseClusterFile } from '../../../src/config/load.ts';
import { LARGE_FILE_BYTES, parseLargeClusterFile } from '../../../src/watch/large-file.ts';

function fileOf(cidrs: number, change: (text: string) => string = (text) => text): string {
  const lines = Array.from(
    { length: cidrs },
    (_, i) => `    - ${20 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}.0/24`,
  );
  return change(
    `- name: west\n  gateways: [{address: 172.31.2.2, weight: 3}]\n  cidrs:\n${lines.join('\n')}\n`,
  );
}

test('a large file gives in a thread what it gives without', async () => {
  const text = fileOf(30_000);
  assert.ok(text.length > LARGE_FILE_BYTES);
  assert.deepEqual(await parseLargeClusterFile(text, 'west.yaml'), parseClusterFile(text, 'west.yaml'));
});

test('the problems of a large file come with file, line and column', async () => {
  const text = fileOf(30_000, (whole) => whole.replace('20.0.7.0/24', '20.0.7.1/24'));
  const parsed = await parseLargeClusterFile(text, 'west.yaml');
  assert.deepEqual(parsed.problems, parseClusterFile(text, 'west.yaml').problems);
  assert.equal(parsed.problems?.[0]?.line, 11);
});
