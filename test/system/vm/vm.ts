import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Machine, poll, run } from '../../../src/measure/topology.ts';

/** Folders that an installation writes to: each VM has its own copy over that of the machine the test runs on. */
const OWN_FOLDERS = ['/etc', '/opt', '/usr/local', '/var/lib'];
const SYSTEMCTL = fileURLToPath(new URL('./systemctl.js', import.meta.url));
const READY_MS = 10_000;

/** A machine with file systems of its own where software gets installed, and a systemctl. */
export class Vm {
  readonly machine: Machine;
  /** Where its administrator works. */
  readonly home: string;
  readonly #folder: string;
  readonly #pid: number;

  private constructor(machine: Machine, folder: string, pid: number) {
    this.machine = machine;
    this.#folder = folder;
    this.home = join(folder, 'home');
    this.#pid = pid;
  }

  static async make(machine: Machine): Promise<Vm> {
    const folder = mkdtempSync(`/run/vm-${machine.name}-`);
    // The service runs as another user and has to reach its notification socket.
    chmodSync(folder, 0o755);
    for (const name of ['home', 'bin', 'upper', 'scratch']) mkdirSync(join(folder, name));
    const systemctl = join(folder, 'bin', 'systemctl');
    writeFileSync(systemctl, `#!/bin/sh\nexec ${process.execPath} ${SYSTEMCTL} "$@"\n`, { mode: 0o755 });
    const mounts = OWN_FOLDERS.map((own) => {
      const name = own.replaceAll('/', '_');
      const layers = `lowerdir=${own},upperdir=${folder}/upper/${name},workdir=${folder}/scratch/${name}`;
      return `mkdir ${folder}/upper/${name} ${folder}/scratch/${name} && mount -t overlay overlay -o ${layers} ${own}`;
    });
    // udev's rules open the device node to every user; a machine without udev has it for root alone.
    const node = join(folder, 'tun');
    const device = `mknod -m 666 ${node} c 10 200 && mount --bind ${node} /dev/net/tun`;
    const script = `set -e\n${[...mounts, device].join('\n')}\necho mounted\nexec sleep infinity`;
    const holder = machine.start('file systems', [
      'unshare',
      '--mount',
      '--propagation',
      'private',
      'sh',
      '-c',
      script,
    ]);
    await poll(`the file systems of ${machine.name}`, READY_MS, () => {
      if (!holder.isRunning) throw new Error(`${machine.name}: ${holder.log()}`);
      return holder.stdout().includes('mounted');
    });
    return new Vm(machine, folder, holder.pid);
  }

  /** Runs shell commands as root in the administrator's folder; stops at the first that fails, and rejects with what it wrote. */
  async shell(commands: string): Promise<string> {
    const environment = [
      ...['-u', 'NODE_TEST_CONTEXT', `--chdir=${this.home}`],
      ...[`PATH=${join(this.#folder, 'bin')}:${process.env.PATH}`, `ISTHMUS_VM_FOLDER=${this.#folder}`],
      // There is no network but that of the test: packages come from the cache that `npm ci` filled.
      'npm_config_offline=true',
    ];
    const enter = ['nsenter', `--target=${this.#pid}`, '--mount', '--net', '--'];
    return run([...enter, 'env', ...environment, 'sh', '-eu'], commands);
  }

  /** Copies a file into the administrator's folder. */
  copyIn(file: string): void {
    copyFileSync(file, join(this.home, basename(file)));
  }

  async writeFile(path: string, text: string): Promise<void> {
    writeFileSync(join(this.home, '.new'), text);
    await this.shell(`mkdir -p ${dirname(path)} && mv .new ${path}`);
  }

  /** The main process of a unit. */
  mainPid(unit: string): number {
    return Number(readFileSync(join(this.#folder, `${unit}.pid`), 'utf8'));
  }

  /** What a unit logged. */
  journal(unit: string): string {
    return readFileSync(join(this.#folder, `${unit}.log`), 'utf8');
  }
}
