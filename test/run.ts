import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { probeSandbox, type Sandbox, sandboxEnvironment } from '../src/measure/sandbox.ts';
import { type Selected, select } from './runner/selection.ts';
import { add, closingLine, NOTHING, parseTap, requireAll, type Tally } from './runner/tally.ts';

/**
 * `npm test [-- LAYER|PATH …]`: runs the compiled tests layer by layer through `node --test` with explicit files (folders and globs
 * mean different things to different Node versions) and ends with one line that counts them all.
 */
const testFolder = fileURLToPath(new URL('.', import.meta.url));
const strict = process.env.ISTHMUS_TEST_REQUIRE === 'all';
let running: ChildProcess | undefined;

/** Runs one command to its end; its output goes where ours goes. Resolves with the exit status, 1 for a signal. */
function runToEnd(command: readonly string[], environment: NodeJS.ProcessEnv): Promise<number> {
  return new Promise((resolve, reject) => {
    running = spawn(command[0]!, command.slice(1), {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: environment,
    });
    running.on('error', reject);
    running.on('exit', (status) => resolve(status ?? 1));
  });
}

async function runFiles(
  selected: Selected,
  files: readonly string[],
  prefix: readonly string[],
): Promise<Tally> {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-test-'));
  const report = join(folder, 'report.tap');
  const { layer } = selected;
  const command = [
    ...prefix,
    ...[process.execPath, ...layer.nodeFlags, '--enable-source-maps', '--test'],
    ...[`--test-concurrency=${layer.concurrency}`, `--test-timeout=${layer.timeoutMs}`],
    ...['--test-reporter=spec', '--test-reporter-destination=stdout'],
    ...['--test-reporter=tap', `--test-reporter-destination=${report}`],
    ...files.map((file) => join(testFolder, file)),
  ];
  const environment = prefix.length > 0 ? sandboxEnvironment() : process.env;
  try {
    const status = await runToEnd(command, environment);
    return parseTap(readFileSync(report, 'utf8'), status);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runLayer(selected: Selected, sandbox: () => Sandbox): Promise<Tally> {
  const { layer, files } = selected;
  process.stdout.write(`\n== ${layer.name}: ${files.length} ${files.length === 1 ? 'file' : 'files'}\n`);
  if (!layer.sandbox) return runFiles(selected, files, []);
  const place = sandbox();
  if (!place.possible) {
    const skips = files.map((file) => `${file}: ${place.reason}`);
    return { ...NOTHING, skipped: files.length, skips };
  }
  let tally = NOTHING;
  for (const file of files) tally = add(tally, await runFiles(selected, [file], place.command));
  return tally;
}

async function main(words: readonly string[]): Promise<number> {
  const files = readdirSync(testFolder, { recursive: true, encoding: 'utf8' }).map((file) =>
    relative(testFolder, join(testFolder, file)).split(sep).join('/'),
  );
  const selection = select(files, words);
  if (selection.length === 0) {
    process.stderr.write(`no test matches ${words.join(' ')}\n`);
    return 2;
  }
  let place: Sandbox | undefined;
  const sandbox = (): Sandbox => (place ??= probeSandbox());
  let tally = NOTHING;
  for (const selected of selection) tally = add(tally, await runLayer(selected, sandbox));
  if (tally.skips.length > 0) {
    process.stdout.write(`\n${strict ? 'Skipped, which fails here' : 'Skipped'}:\n`);
    for (const skip of tally.skips) process.stdout.write(`  ${skip}\n`);
  }
  const counted = strict ? requireAll(tally) : tally;
  process.stdout.write(`\n${closingLine(counted)}\n`);
  return counted.failed === 0 ? 0 : 1;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    running?.kill('SIGKILL');
    process.exit(130);
  });
}
process.exitCode = await main(process.argv.slice(2));
