import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readCorpus } from './corpus.ts';
import { Fuzzer } from './fuzzer.ts';
import { JAVASCRIPT_TARGETS } from './javascript-targets.ts';
import type { Target } from './target.ts';

/** `npm run fuzz -- TARGET --seconds 600` is the long run. */
const SECONDS = Number(process.env.ISTHMUS_TEST_FUZZ_SECONDS ?? 4);
const SEED = Number(process.env.ISTHMUS_TEST_SEED ?? 2003);

const WORD = [...'IPIP'].map((letter) => letter.charCodeAt(0));

/** Finds the word only letter by letter: by chance alone it would take 2^32 inputs. */
function readsWord(bytes: Uint8Array): void {
  if (bytes[0] !== WORD[0]) return;
  if (bytes[1] !== WORD[1]) return;
  if (bytes[2] !== WORD[2]) return;
  if (bytes[3] !== WORD[3]) return;
  throw new Error('the word was found');
}

const WORD_TARGET: Target = {
  name: 'word',
  bytesMax: 8,
  run: (input) => {
    readsWord(input);
    return [];
  },
  repair: () => {},
  seeds: () => [new Uint8Array(4)],
};

test('the search follows coverage: it finds what chance alone would not', () => {
  const options = {
    corpus: [],
    seconds: 30,
    inputsMax: 3_000_000,
    seed: SEED,
    scripts: '/test/fuzz/javascript',
  };
  const { finding, inputs } = new Fuzzer(WORD_TARGET, options).run();
  assert.ok(finding !== undefined, `not found with ${inputs} inputs`);
  assert.deepEqual([...finding.input.subarray(0, 4)], WORD);
});

for (const [name, make] of Object.entries(JAVASCRIPT_TARGETS)) {
  test(`${name}: nothing is found in ${SECONDS} s, from the corpus on`, (t) => {
    const corpus = readCorpus(name);
    const { finding, inputs, covered } = new Fuzzer(make(), { corpus, seconds: SECONDS, seed: SEED }).run();
    t.diagnostic(`${name}: ${inputs} inputs, ${covered} characters of code covered, seed ${SEED}`);
    if (finding === undefined) return;
    const hex = Buffer.from(finding.input).toString('hex');
    assert.fail(`seed ${SEED}, input ${hex}: ${(finding.error as Error).stack ?? finding.error}`);
  });
}
