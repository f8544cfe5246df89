import { spawn } from 'node:child_process';
import type { Progress, ProgressEvent } from './model.ts';
import { sandboxEnvironment } from './sandbox.ts';

/** What goes into the sandbox: the options first, later a wish to stop. */
export interface ToSandbox {
  readonly options?: unknown;
  readonly stop?: true;
}

/** What comes out: progress, and at last a result or the message of an error. */
export interface FromSandbox {
  readonly progress?: ProgressEvent;
  readonly result?: unknown;
  readonly error?: string;
}

/** Kept of what the sandbox writes to stderr, for the story of a failure. */
const COMPLAINT_CHARACTERS_MAX = 4000;

/**
 * Runs a program in a fresh sandbox, hands it the options, and resolves with its result. `signal` asks it to stop, which it answers with
 * the result so far. When this process ends, the sandbox does.
 */
export function runInSandbox<T>(
  command: readonly string[],
  program: URL,
  options: unknown,
  progress: Progress,
  signal: AbortSignal,
): Promise<T> {
  const [setpriv, ...words] = command;
  const child = spawn(setpriv!, [...words, process.execPath, '--enable-source-maps', program.pathname], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    env: sandboxEnvironment(),
    // A session of its own: Ctrl-C on the terminal would end gateways and agents before what they measured is told.
    detached: true,
  });
  let complaint = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-COMPLAINT_CHARACTERS_MAX);
  });
  const send = (message: ToSandbox): void => {
    // It has just ended: `exit` says so.
    child.send(message, () => {});
  };
  const stop = (): void => send({ stop: true });
  signal.addEventListener('abort', stop, { once: true });
  return new Promise<T>((resolve, reject) => {
    child.once('error', reject);
    child.on('message', (message: FromSandbox) => {
      if (message.progress !== undefined) progress(message.progress);
      if (message.error !== undefined) reject(new Error(message.error));
      if (message.result !== undefined) resolve(message.result as T);
    });
    child.once('exit', (status, ending) => {
      reject(new Error(`the sandbox ended with ${ending ?? status}: ${complaint.trim()}`));
    });
    send({ options });
    if (signal.aborted) stop();
  }).finally(() => {
    signal.removeEventListener('abort', stop);
    child.kill('SIGKILL');
  });
}
