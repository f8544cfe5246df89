import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findProgram } from '../../src/measure/sandbox.ts';
import { corpusFolder, findingsFolder } from './corpus.ts';

/** Each is a file of test/fuzz/native and becomes a program of libFuzzer, with AddressSanitizer and UndefinedBehaviorSanitizer. */
export const NATIVE_TARGETS = ['coalesce', 'segment', 'calls'] as const;
export type NativeTarget = (typeof NATIVE_TARGETS)[number];

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const ADDON_SOURCES = [
  ...['arguments', 'checksum', 'coalesce', 'inner', 'link', 'netlink', 'packets'],
  ...['raw', 'segment', 'system', 'tun', 'wake'],
];
/** What calls.c plays in the kernel's place. */
const SYSTEM_CALLS = [
  ...['readv', 'writev', 'recvmmsg', 'sendmmsg', 'sendto', 'recvfrom', 'setsockopt', 'getsockopt'],
  ...['poll', 'bind', 'ioctl', 'read'],
];
const INPUT_BYTES_MAX = 3000;
const COMPILERS = ['clang-14', 'clang', 'clang-15', 'clang-16', 'clang-19'];

/** Where the headers of this Node are: beside it, as its own packages have them, or where npm was told. */
function nodeHeaders(): string | undefined {
  const roots = [process.env.npm_config_nodedir, dirname(dirname(process.execPath))];
  return roots
    .filter((root) => root !== undefined)
    .map((root) => join(root, 'include', 'node'))
    .find((folder) => existsSync(join(folder, 'node_api.h')));
}

let lacks: { readonly why: string | undefined } | undefined;

/** One line that says what is missing to build the targets; undefined when nothing is. */
export function nativeFuzzingLacks(): string | undefined {
  lacks ??= { why: findLack() };
  return lacks.why;
}

function findLack(): string | undefined {
  const compiler = findCompiler();
  if (compiler === undefined) return 'clang is not installed (Debian package clang-14)';
  if (nodeHeaders() === undefined)
    return `node_api.h is not beside ${process.execPath} (set npm_config_nodedir)`;
  const probe = spawnSync(compiler, ['-fsanitize=fuzzer,address', '-x', 'c', '-', '-o', '/dev/null'], {
    input: 'int LLVMFuzzerTestOneInput(void); int LLVMFuzzerTestOneInput(void) { return 0; }',
  });
  return probe.status === 0
    ? undefined
    : 'the runtime of libFuzzer is not installed (Debian package libclang-rt-14-dev)';
}

function findCompiler(): string | undefined {
  return COMPILERS.map(findProgram).find((path) => path !== undefined);
}

export interface NativeRun {
  readonly seconds: number;
  readonly seed: number;
  /** New inputs go to the corpus; otherwise they are forgotten. */
  readonly keep?: boolean;
  readonly onLine?: (line: string) => void;
}

export interface NativeResult {
  readonly ok: boolean;
  readonly inputs: number;
  /** Branches of the program that ran, as libFuzzer counts them. */
  readonly covered: number;
  /** The end of what it printed. */
  readonly log: string;
}

/** Compiles a target and runs it. Throws when it cannot be compiled. */
export async function fuzzNative(target: NativeTarget, run: NativeRun): Promise<NativeResult> {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-fuzz-'));
  try {
    const program = join(folder, target);
    compile(target, program);
    const inputs = run.keep === true ? [corpusFolder(target)] : [folder, corpusFolder(target)];
    const options = [`-max_total_time=${run.seconds}`, `-seed=${run.seed}`, `-max_len=${INPUT_BYTES_MAX}`];
    return await execute(
      program,
      [...options, `-artifact_prefix=${findingsFolder()}/${target}-`, ...inputs],
      run,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function compile(target: NativeTarget, program: string): void {
  const here = join(ROOT, 'test', 'fuzz', 'native');
  const native = join(ROOT, 'native');
  const sources = [target, 'node-api'].map((name) => join(here, `${name}.c`));
  sources.push(...ADDON_SOURCES.map((name) => join(native, `${name}.c`)));
  const wrapped = target === 'calls' ? [`-Wl,${SYSTEM_CALLS.map((name) => `--wrap=${name}`).join(',')}`] : [];
  const flags = [
    ...['-g', '-O1', '-std=c17', '-DNAPI_VERSION=8', '-Wall', '-Wextra', '-Werror'],
    ...['-fsanitize=fuzzer,address,undefined', '-fno-sanitize-recover=all'],
    ...[`-I${native}`, `-I${here}`, `-I${nodeHeaders()}`],
  ];
  const { status, stderr } = spawnSync(findCompiler()!, [...flags, ...sources, ...wrapped, '-o', program], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`${target} does not compile:\n${stderr}`);
}

const LOG_LINES_MAX = 60;

function execute(program: string, words: readonly string[], run: NativeRun): Promise<NativeResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe'] });
    const lines: string[] = [];
    let [inputs, covered, rest] = [0, 0, ''];
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      const parts = (rest + chunk).split('\n');
      rest = parts.pop()!;
      for (const line of parts) {
        const told = /^#(\d+)\s.*cov: (\d+)/.exec(line);
        if (told !== null) [inputs, covered] = [Number(told[1]), Number(told[2])];
        lines.push(line);
        if (lines.length > LOG_LINES_MAX) lines.shift();
        run.onLine?.(line);
      }
    });
    child.on('error', reject);
    child.on('close', (status) => resolve({ ok: status === 0, inputs, covered, log: lines.join('\n') }));
  });
}
