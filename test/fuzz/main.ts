import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { addToCorpus, keepFinding, readCorpus, replaceCorpus } from './corpus.ts';
import { Fuzzer, type Progress } from './fuzzer.ts';
import { JAVASCRIPT_TARGETS } from './javascript-targets.ts';
import { fuzzNative, NATIVE_TARGETS, type NativeTarget, nativeFuzzingLacks } from './native-targets.ts';

const USAGE = `npm run fuzz -- TARGET [--seconds N] [--seed N] [--keep | --shrink]
npm run fuzz -- TARGET --replay FILE

  --seconds N   how long to search (60)
  --seed N      the search is the same for the same seed and corpus, but for what depends on time (a new one each time)
  --keep        adds inputs that found something new to test/fuzz/corpus
  --shrink      leaves of the corpus only what runs code that shorter inputs do not
  --replay FILE runs one input and prints what is wrong with it

targets in JavaScript: ${Object.keys(JAVASCRIPT_TARGETS).join(' ')}
targets in C: ${NATIVE_TARGETS.join(' ')} (only --seconds, --seed and --keep)
`;

function describe({ seconds, inputs, pool, covered, outcomes }: Progress): string {
  const rate = Math.round(inputs / seconds);
  return `${seconds.toFixed(0)} s: ${inputs} inputs (${rate}/s), ${pool} in the pool, ${covered} characters of code covered, ${outcomes} outcomes`;
}

async function native(target: NativeTarget, seconds: number, seed: number, keep: boolean): Promise<number> {
  const lacks = nativeFuzzingLacks();
  if (lacks !== undefined) {
    process.stderr.write(`${lacks}\n`);
    return 1;
  }
  const onLine = (line: string): boolean => process.stderr.write(`${line}\n`);
  const { ok, inputs, covered } = await fuzzNative(target, { seconds, seed, keep, onLine });
  process.stdout.write(`${target}: ${inputs} inputs, ${covered} branches covered, seed ${seed}\n`);
  return ok ? 0 : 1;
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seconds: { type: 'string', default: '60' },
      seed: { type: 'string', default: `${Date.now() % 1_000_000}` },
      keep: { type: 'boolean', default: false },
      shrink: { type: 'boolean', default: false },
      replay: { type: 'string' },
    },
  });
  const seed = Number(values.seed);
  const inC = NATIVE_TARGETS.find((name) => name === positionals[0]);
  if (inC !== undefined) return native(inC, Number(values.seconds), seed, values.keep);
  const make = JAVASCRIPT_TARGETS[positionals[0] ?? ''];
  if (make === undefined) {
    process.stderr.write(USAGE);
    return 2;
  }
  const target = make();
  if (values.replay !== undefined) {
    target.run(new Uint8Array(readFileSync(values.replay)));
    process.stdout.write('nothing is wrong with it\n');
    return 0;
  }
  const result = new Fuzzer(target, {
    ...{ corpus: readCorpus(target.name), seconds: Number(values.seconds), seed },
    onProgress: (progress) => process.stdout.write(`${target.name}: ${describe(progress)}\n`),
  }).run();
  if (values.shrink) replaceCorpus(target.name, result.useful);
  if (values.keep) for (const input of result.found) addToCorpus(target.name, input);
  process.stdout.write(`${target.name}: ${describe(result)}, seed ${seed}\n`);
  if (result.finding === undefined) return 0;
  const path = keepFinding(target.name, result.finding.input);
  process.stderr.write(`${(result.finding.error as Error).stack ?? result.finding.error}\n`);
  process.stderr.write(`found something; again: npm run fuzz -- ${target.name} --replay ${path}\n`);
  return 1;
}

process.exitCode = await main();
