import { spawnSync } from 'node:child_process';

const PROBE_DEVICE = 'bench-probe';
/** A kernel that has to load a module for it takes well below a second. */
const PROBE_MS = 5000;

/**
 * Why the kernel cannot make a device of `type`, or undefined. Making one is the only true answer: whether the module is loaded, built
 * in or missing shows nowhere else in the same way. Asked inside the sandbox, whose own namespace the device is gone from at once.
 */
export function deviceTypeLacking(type: string, words: readonly string[] = []): string | undefined {
  const made = spawnSync('ip', ['link', 'add', PROBE_DEVICE, 'type', type, ...words], {
    encoding: 'utf8',
    timeout: PROBE_MS,
  });
  if (made.status === 0) {
    spawnSync('ip', ['link', 'del', PROBE_DEVICE], { timeout: PROBE_MS });
    return undefined;
  }
  const reason = (made.stderr || made.error?.message || 'no reason given').trim().replaceAll(/\s+/g, ' ');
  return `this kernel makes no device of type ${type}: ${reason} (kernel module ${moduleOf(type)})`;
}

function moduleOf(type: string): string {
  return type === 'gre' ? 'ip_gre' : type;
}
