import { spawn } from 'node:child_process';
import { messageOf } from '../base/errors.ts';

/** What came of a run of nft: its output, or one sentence that says what failed. */
export type NatOutcome = { readonly output: string } | { readonly failure: string };

/** Runs nft with these arguments and this standard input. Never rejects. */
export type NatProgram = (args: readonly string[], input: string) => Promise<NatOutcome>;

/** A transaction of 10,000 elements takes nft 0.2 s; one that waits longer waits for somebody who holds the kernel's lock. */
const LIMIT_MS = 10_000;

/** Listing our table with its largest sets is under 1 MiB. */
const OUTPUT_BYTES_MAX = 8 << 20;

/** A service manager's PATH may lack the folders of administrators' programs. */
const ADMIN_FOLDERS = ['/usr/sbin', '/sbin', '/usr/local/sbin'];

/**
 * Runs the program `nft`, found by PATH or named by its path. A child process and not netlink: the kernel's own form of a rule set is a language of
 * its own, which only libnftables writes.
 */
export function nftRunner(program: string, limitMs = LIMIT_MS): NatProgram {
  return (args, input) =>
    new Promise((resolve) => {
      const child = spawn(program, args, {
        stdio: ['pipe', 'pipe', 'pipe'],
        timeout: limitMs,
        killSignal: 'SIGKILL',
        env: { PATH: [process.env.PATH, ...ADMIN_FOLDERS].filter(Boolean).join(':'), LC_ALL: 'C' },
      });
      let output = '';
      let complaint = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        if (output.length < OUTPUT_BYTES_MAX) output += text;
      });
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        if (complaint.length < OUTPUT_BYTES_MAX) complaint += text;
      });
      // What it does not read of its input it has complained about.
      child.stdin.on('error', () => {});
      child.once('error', (error) => resolve({ failure: startFailure(error) }));
      child.once('close', (status, signal) => {
        if (status === 0) resolve({ output });
        else if (signal !== null)
          resolve({ failure: `nft was ended by ${signal} after ${limitMs / 1000} s` });
        else resolve({ failure: endFailure(status, complaint) });
      });
      child.stdin.end(input);
    });
}

export const runNft: NatProgram = nftRunner('nft');

function startFailure(error: NodeJS.ErrnoException): string {
  return error.code === 'ENOENT'
    ? 'the program nft is missing; install it (Debian package nftables)'
    : `the program nft cannot be started: ${messageOf(error)}`;
}

/** nft repeats the rule under each of its messages, with carets; the first line is the message. */
function endFailure(status: number | null, complaint: string): string {
  const [first = ''] = complaint.split('\n');
  const advice = /Operation not permitted/.test(complaint)
    ? '; it needs CAP_NET_ADMIN: as an ambient capability, or on its file (setcap cap_net_admin=ep)'
    : '';
  return `nft ended with ${status}: ${first.trim()}${advice}`;
}
