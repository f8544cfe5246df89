import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { probeSandbox, sandboxEnvironment } from '../src/measure/sandbox.ts';

const ANSWER_FILE = 'ISTHMUS_BENCH_ANSWER';

/**
 * Runs a program of this folder inside a fresh sandbox of namespaces and gives back what it passed to `answer`. Throws the reason where
 * the sandbox is not possible, or when the program failed; its messages go where ours go.
 */
export async function inSandbox<T>(program: URL, words: readonly string[]): Promise<T> {
  const sandbox = probeSandbox();
  if (!sandbox.possible) throw new Error(sandbox.reason);
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-bench-'));
  const file = join(folder, 'answer.json');
  const [command, ...prefix] = sandbox.command;
  try {
    const child = spawn(
      command!,
      [...prefix, process.execPath, '--enable-source-maps', program.pathname, ...words],
      {
        stdio: ['ignore', 'inherit', 'inherit'],
        env: { ...sandboxEnvironment(), [ANSWER_FILE]: file },
      },
    );
    const stop = (): void => void child.kill('SIGKILL');
    process.once('SIGINT', stop).once('SIGTERM', stop);
    const status = await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => resolve(signal ?? code));
    });
    process.off('SIGINT', stop).off('SIGTERM', stop);
    if (status !== 0) throw new Error(`the benchmark ended with ${status}`);
    return JSON.parse(readFileSync(file, 'utf8')) as T;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Hands the result of a program in the sandbox to `inSandbox` outside. */
export function answer(value: unknown): void {
  writeFileSync(process.env[ANSWER_FILE] ?? '/dev/stdout', JSON.stringify(value));
}

/** Progress, one line; tables go to stdout at the end. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
