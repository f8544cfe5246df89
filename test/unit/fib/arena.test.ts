import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Arena, BLOCK_UNITS_MAX } from '../../../src/fib/arena.ts';
import { SEED } from './linear-scan.ts';

const BASE = 64;
const UNIT_WORDS = 4;

test('never hands out a word twice, keeps its books, and is empty and whole when all is freed', () => {
  const operation = fc.oneof(
    fc.record({ words: fc.integer({ min: 1, max: BLOCK_UNITS_MAX * UNIT_WORDS }) }),
    fc.record({ pick: fc.nat() }),
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 120 }), (operations) => {
      const arena = new Arena(BASE, 8192, UNIT_WORDS);
      const held = new Map<number, number>();
      for (const next of operations) {
        if ('words' in next) {
          const at = arena.allocate(next.words);
          if (at === 0) continue;
          assert.equal((at - BASE) % UNIT_WORDS, 0);
          assert.ok(arena.wordsAt(at) >= next.words);
          held.set(at, arena.wordsAt(at));
        } else if (held.size > 0) {
          const at = [...held.keys()][next.pick % held.size]!;
          held.delete(at);
          arena.free(at);
        }
        checkBooks(arena, held);
      }
      for (const at of held.keys()) arena.free(at);
      assert.deepEqual([...arena.blocks()], []);
      assert.equal(arena.wordsUsed, 0);
    }),
    { seed: SEED, numRuns: 100 },
  );
});

function checkBooks(arena: Arena, held: ReadonlyMap<number, number>): void {
  const used = new Map<number, number>();
  let at = BASE;
  let wasFree = false;
  for (const block of arena.blocks()) {
    assert.equal(block.at, at, 'blocks follow one another without a gap');
    assert.ok(!(wasFree && block.free), 'free neighbours are one block');
    if (!block.free) used.set(block.at, block.words);
    wasFree = block.free;
    at += block.words;
  }
  assert.ok(!wasFree, 'a free block at the end goes back to the untouched rest');
  assert.deepEqual(used, new Map([...held].sort(([a], [b]) => a - b)));
  assert.equal(
    arena.wordsUsed,
    [...held.values()].reduce((sum, words) => sum + words, 0),
  );
}

test('uses every word it has, then answers 0, and goes on after a free', () => {
  const arena = new Arena(BASE, 10 * UNIT_WORDS + 3, UNIT_WORDS);
  assert.equal(arena.wordsCapacity, 10 * UNIT_WORDS);
  const blocks = Array.from({ length: 10 }, () => arena.allocate(UNIT_WORDS));
  assert.equal(arena.allocate(1), 0);
  arena.free(blocks[4]!);
  assert.equal(arena.allocate(UNIT_WORDS + 1), 0, 'one unit is no room for two');
  arena.free(blocks[5]!);
  assert.equal(arena.allocate(2 * UNIT_WORDS), blocks[4], 'two neighbours are');
  assert.equal(arena.wordsTouched, 10 * UNIT_WORDS);
});

test('takes a free block before it touches new memory', () => {
  const arena = new Arena(BASE, 1024, UNIT_WORDS);
  const first = arena.allocate(40);
  arena.allocate(4);
  arena.free(first);
  assert.equal(arena.allocate(8), first);
  assert.equal(arena.wordsTouched, 44);
});

test('stops on a block that is freed twice or was never handed out, and on a size no owner needs', () => {
  const arena = new Arena(BASE, 1024, UNIT_WORDS);
  const at = arena.allocate(40);
  assert.throws(() => arena.free(at + UNIT_WORDS), /only a block in use/);
  arena.free(at);
  assert.throws(() => arena.free(at), /only a block in use/);
  assert.throws(() => arena.allocate(BLOCK_UNITS_MAX * UNIT_WORDS + 1), /BLOCK_UNITS_MAX/);
  assert.throws(() => arena.allocate(0), /BLOCK_UNITS_MAX/);
  assert.notEqual(arena.allocate(BLOCK_UNITS_MAX * UNIT_WORDS), 0);
});
