import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzzNative, NATIVE_TARGETS, nativeFuzzingLacks } from './native-targets.ts';

/** `npm run fuzz -- TARGET --seconds 600` is the long run. */
const SECONDS = Number(process.env.ISTHMUS_TEST_FUZZ_SECONDS ?? 4);
const SEED = Number(process.env.ISTHMUS_TEST_SEED ?? 2003);

for (const target of NATIVE_TARGETS) {
  test(`${target}: the sanitizers find nothing in ${SECONDS} s, from the corpus on`, {
    skip: nativeFuzzingLacks() ?? false,
  }, async (t) => {
    const { ok, inputs, covered, log } = await fuzzNative(target, { seconds: SECONDS, seed: SEED });
    t.diagnostic(`${target}: ${inputs} inputs, ${covered} branches covered, seed ${SEED}`);
    assert.ok(ok, log);
  });
}
