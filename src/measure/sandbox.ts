import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * The machines of a measurement or a system test are network namespaces inside one sandbox: own mount, network and process namespaces, and a user
 * namespace when the user is not root. /run is a fresh tmpfs, which lets `ip netns` keep its names there. When the sandbox's first
 * process ends, the kernel ends all others in it and takes down every device, route and mount; nothing has to be cleaned up by name,
 * and nothing is left even after SIGKILL.
 */
export type Sandbox =
  | { readonly possible: true; readonly command: readonly string[] }
  | { readonly possible: false; readonly reason: string };

const INSIDE = 'ISTHMUS_SANDBOX';

/** Administrators' folders, which Debian leaves out of the PATH of other users. */
const SYSTEM_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin'];

/** Where the sandbox's own files live: gone with it. */
export const SANDBOX_FOLDER = '/run/isthmus-sandbox';

export function isInsideSandbox(): boolean {
  return process.env[INSIDE] === '1';
}

/** The path of a program, or undefined. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...SYSTEM_FOLDERS];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** One line that says what is missing and which Debian package has it; undefined when `name` is there. */
export function lacking(name: string, debianPackage: string): string | undefined {
  return findProgram(name) === undefined
    ? `${name} is not installed (Debian package ${debianPackage})`
    : undefined;
}

/** What runs a command inside a fresh sandbox, or why that is not possible here. */
export function probeSandbox(): Sandbox {
  const missing = lacking('ip', 'iproute2') ?? lacking('unshare', 'util-linux') ?? tunMissing();
  if (missing !== undefined) return { possible: false, reason: missing };
  const command = sandboxCommand(process.getuid?.() !== 0);
  const probe = spawnSync(command[0]!, [...command.slice(1), 'ip', 'netns', 'add', 'probe'], {
    encoding: 'utf8',
    env: sandboxEnvironment(),
  });
  if (probe.status === 0) return { possible: true, command };
  return { possible: false, reason: refusal(`${probe.stderr ?? ''}${probe.error?.message ?? ''}`.trim()) };
}

/** The environment for what `probeSandbox().command` runs. */
export function sandboxEnvironment(): NodeJS.ProcessEnv {
  const path = [process.env.PATH, ...SYSTEM_FOLDERS].filter(Boolean).join(delimiter);
  const environment: NodeJS.ProcessEnv = { ...process.env, PATH: path, [INSIDE]: '1' };
  // Set by `node --test` for its children; left in, an inner `node --test` takes itself for one and reports nothing.
  delete environment.NODE_TEST_CONTEXT;
  return environment;
}

function sandboxCommand(user: boolean): string[] {
  const prepare = `mount -t tmpfs -o mode=755 tmpfs /run && mkdir ${SANDBOX_FOLDER} && ip link set lo up && exec "$@"`;
  return [
    // unshare ignores SIGINT and SIGTERM while it waits: without this a sandbox outlives a runner that was killed.
    ...['setpriv', '--pdeathsig', 'KILL', '--'],
    ...['unshare', ...(user ? ['--user', '--map-root-user'] : [])],
    ...['--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'private'],
    ...['--', 'sh', '-c', prepare, 'sandbox'],
  ];
}

function tunMissing(): string | undefined {
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
    return undefined;
  } catch {
    return existsSync('/dev/net/tun')
      ? '/dev/net/tun is not readable and writable for this user'
      : '/dev/net/tun is missing (kernel module tun)';
  }
}

/** Sysctls that keep users from making namespaces, with the value that does. */
const FORBIDDING: readonly [string, string][] = [
  ['kernel/unprivileged_userns_clone', '0'],
  ['user/max_user_namespaces', '0'],
  ['kernel/apparmor_restrict_unprivileged_userns', '1'],
];

function refusal(message: string): string {
  for (const [name, forbidden] of FORBIDDING) {
    const path = `/proc/sys/${name}`;
    if (existsSync(path) && readFileSync(path, 'utf8').trim() === forbidden) {
      return `namespaces are not allowed here: sysctl ${name.replace('/', '.')} is ${forbidden}`;
    }
  }
  return `namespaces are not allowed here: ${message === '' ? 'no reason given' : message}`;
}
