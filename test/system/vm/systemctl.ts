import { spawn, spawnSync } from 'node:child_process';
import { chownSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DYNAMIC_USER, oneValue, parseUnit, startCommand, type UnitFile } from './unit-file.ts';

/**
 * Stands in for systemctl on a machine of a test, where no systemd runs: starts and stops what a unit describes, with its user, its
 * capabilities, its state directory and its readiness protocol. ISTHMUS_VM_FOLDER is where it keeps what it knows.
 */
const folder = process.env.ISTHMUS_VM_FOLDER ?? '';
const DEADLINE_MS = 20_000;

/** Node has no unix datagram sockets. Prints a line when it listens, and what was said to it. */
const NOTIFY_LISTENER = `
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
print('listening', flush=True)
s.settimeout(${DEADLINE_MS / 1000})
print(s.recv(4096).decode(), flush=True)
`;

function unitOf(name: string): UnitFile {
  return parseUnit(readFileSync(`/etc/systemd/system/${name}.service`, 'utf8'));
}

function pidFile(name: string): string {
  return join(folder, `${name}.pid`);
}

function mainPid(name: string): number | undefined {
  try {
    const pid = Number(readFileSync(pidFile(name), 'utf8'));
    // A zombie still takes signals; only its state tells that it has ended.
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')) ? undefined : pid;
  } catch {
    return undefined;
  }
}

async function start(name: string): Promise<void> {
  if (mainPid(name) !== undefined) return;
  const unit = unitOf(name);
  const state = join('/var/lib', oneValue(unit, 'Service.StateDirectory'));
  mkdirSync(state, {
    recursive: true,
    mode: Number.parseInt(oneValue(unit, 'Service.StateDirectoryMode'), 8),
  });
  chownSync(state, DYNAMIC_USER, DYNAMIC_USER);
  const socket = join(folder, `${name}.notify`);
  rmSync(socket, { force: true });
  const listener = spawn('python3', ['-c', NOTIFY_LISTENER, socket], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let heard = '';
  listener.stdout.on('data', (chunk: Buffer) => {
    heard += chunk.toString();
  });
  await until('the listener for readiness', () => heard.includes('listening\n'));
  const [program, ...words] = startCommand(unit);
  const log = openSync(join(folder, `${name}.log`), 'a');
  const service = spawn(program!, words, {
    detached: true,
    stdio: ['ignore', log, log],
    cwd: '/',
    env: { PATH: process.env.PATH, NOTIFY_SOCKET: socket },
  });
  writeFileSync(pidFile(name), String(service.pid));
  await until('READY=1', () => heard.includes('READY=1') || mainPid(name) === undefined);
  if (!heard.includes('READY=1')) {
    throw new Error(`${name} ended:\n${readFileSync(join(folder, `${name}.log`), 'utf8')}`);
  }
  service.unref();
}

async function stop(name: string): Promise<void> {
  const pid = mainPid(name);
  if (pid !== undefined) process.kill(pid, 'SIGTERM');
  await until(`the end of ${name}`, () => mainPid(name) === undefined);
}

function reload(name: string): void {
  const pid = mainPid(name);
  if (pid === undefined) throw new Error(`${name} is not active, cannot reload`);
  const [program, ...words] = oneValue(unitOf(name), 'Service.ExecReload')
    .replace('$MAINPID', String(pid))
    .split(' ');
  const ended = spawnSync(program!, words, { stdio: 'inherit' });
  if (ended.status !== 0) throw new Error(`ExecReload ended with ${ended.status}`);
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`${what}: not within ${DEADLINE_MS} ms`);
    await sleep(10);
  }
}

async function main(verb: string, options: ReadonlySet<string>, name: string): Promise<void> {
  const isNow = options.has('--now');
  if (verb === 'daemon-reload') return;
  if (verb === 'enable') unitOf(name);
  if (verb === 'start' || (verb === 'enable' && isNow)) return start(name);
  if (verb === 'stop' || (verb === 'disable' && isNow)) return stop(name);
  if (verb === 'reload') return reload(name);
  if (verb === 'enable' || verb === 'disable') return;
  throw new Error(`this systemctl does not know ${verb}`);
}

const words = process.argv.slice(2);
const [verb = '', name = ''] = words.filter((word) => !word.startsWith('--'));
try {
  await main(verb, new Set(words.filter((word) => word.startsWith('--'))), name.replace(/\.service$/, ''));
} catch (error) {
  process.stderr.write(`systemctl: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
