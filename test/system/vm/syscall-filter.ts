import { run } from '../../../src/measure/topology.ts';
import type { UnitFile } from './unit-file.ts';

/** The system calls that a unit's SystemCallFilter= lines leave, by the sets of the systemd that is installed here. */
export async function allowedSystemCalls(unit: UnitFile): Promise<string[]> {
  const sets = parseSets(await run(['systemd-analyze', '--no-pager', 'syscall-filter']));
  const expand = (name: string): string[] => {
    if (!name.startsWith('@')) return [name];
    const members = sets.get(name);
    if (members === undefined) throw new Error(`systemd knows no set ${name}`);
    return members.flatMap(expand);
  };
  // systemd.exec(5): what starts and ends a process is always allowed; a line that begins with ~ takes away.
  const allowed = new Set(expand('@default'));
  for (const line of unit.get('Service.SystemCallFilter') ?? []) {
    const takesAway = line.startsWith('~');
    for (const name of line.replace(/^~/, '').split(' ').flatMap(expand)) {
      if (takesAway) allowed.delete(name);
      else allowed.add(name);
    }
  }
  return [...allowed];
}

function parseSets(text: string): Map<string, string[]> {
  const sets = new Map<string, string[]>();
  let members: string[] = [];
  for (const line of text.split('\n')) {
    const header = /^(@[\w-]+)$/.exec(line)?.[1];
    if (header !== undefined) {
      members = [];
      sets.set(header, members);
    } else if (/^\s+[@\w]/.test(line)) members.push(line.trim());
  }
  return sets;
}

/** The same filter for a container: everything else fails with EPERM, as the unit has it. */
export function seccompProfile(allowed: readonly string[]): string {
  return JSON.stringify({
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: 1,
    architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_AARCH64'],
    syscalls: [{ names: allowed, action: 'SCMP_ACT_ALLOW' }],
  });
}
