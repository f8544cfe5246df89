import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Daemon } from '../../../src/measure/daemon.ts';
import { lacking } from '../../../src/measure/sandbox.ts';
import { type Machine, poll, type Topology } from '../../../src/measure/topology.ts';

/** A whole Linux kernel in a process: the one way to a kernel's ipip device and to netem where the machine's own kernel has neither. */
export const LACKS_UML =
  lacking('linux.uml', 'user-mode-linux') ?? lacking('modprobe', 'kmod') ?? lacking('python3', 'python3');

const MODULES = '/usr/lib/uml/modules';
const BOOT_MS = 60_000;
const COMMAND_MS = 20_000;

/** The first process of the guest. Its root is this machine's, read-only; it runs what it reads from the console. */
const INIT = `#!/bin/sh
# In an ordinary user's namespace mount belongs to nobody, and its set-user-ID bit would make root nobody.
[ "$SETUID" = ignored ] || SETUID=ignored exec /usr/bin/setpriv --no-new-privs /bin/sh "$0"
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
stty raw -echo </dev/console
mount -t tmpfs tmpfs /lib/modules
mkdir -p /lib/modules/$(uname -r)
mount -t hostfs -o "$UMLMOD" none /lib/modules/$(uname -r)
ip link set lo up
echo the guest is ready
cat | sh 2>&1
`;

/**
 * Starts what it is given without ptrace(2) requests for the extended state of the processor (NT_X86_XSTATE): on processors with AMX that is
 * larger than this guest's kernel knows, and it would die of it. It then keeps the older state, SSE at most, so that programs in the guest
 * must not use AVX.
 */
const WITHOUT_XSTATE = `
import ctypes, os, struct, sys
PTRACE, GETREGSET, SETREGSET, XSTATE = 101, 0x4204, 0x4205, 0x202
LOAD, IF_EQUAL, RETURN, ALLOW, FAIL = 0x20, 0x15, 0x06, 0x7fff0000, 0x00050000 | 22
lines = [(LOAD, 0, 0, 0), (IF_EQUAL, 0, 5, PTRACE), (LOAD, 0, 0, 16), (IF_EQUAL, 1, 0, GETREGSET), (IF_EQUAL, 0, 2, SETREGSET),
         (LOAD, 0, 0, 32), (IF_EQUAL, 1, 0, XSTATE), (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, FAIL)]
program = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *line) for line in lines))
class Filter(ctypes.Structure): _fields_ = [('length', ctypes.c_ushort), ('program', ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
for call in [(38, 1, 0), (22, 2, ctypes.byref(Filter(len(lines), ctypes.addressof(program))))]:
    if libc.prctl(*call, 0, 0) != 0: sys.exit('prctl: ' + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[1], sys.argv[1:])
`;

/** For the C library of the guest's programs. */
const WITHOUT_AVX =
  'GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-XSAVE,-XSAVEC,-AVX_Fast_Unaligned_Load';

/** A User Mode Linux guest with network devices vec0, vec1, …, each with a cable to another machine. */
export class UmlGuest {
  readonly #daemon: Daemon;
  #commands = 0;

  private constructor(daemon: Daemon) {
    this.#daemon = daemon;
  }

  /** `ends`: where the cable of each device of the guest goes, and what it is called there. */
  static async boot(
    topology: Topology,
    name: string,
    ends: readonly { readonly machine: Machine; readonly device: string }[],
  ): Promise<UmlGuest> {
    const host = await topology.machine(name);
    const folder = join(topology.folder, name);
    mkdirSync(folder);
    const init = join(folder, 'init');
    writeFileSync(init, INIT, { mode: 0o755 });
    const taps = ends.map((_, i) => `tap${i}`);
    for (const [i, { machine, device }] of ends.entries()) {
      await host.ip(`link add bridge${i} type bridge`, `tuntap add dev tap${i} mode tap`);
      await topology.cable({ machine, device }, { machine: host, device: `port${i}` });
      await host.ip(
        ...['tap', 'port'].map((port) => `link set ${port}${i} up master bridge${i}`),
        `link set bridge${i} up`,
      );
    }
    const modules = join(MODULES, readdirSync(MODULES)[0] ?? '');
    // Without gro, TCP to the guest crawls.
    const devices = taps.map((tap, i) => `vec${i}:transport=tap,ifname=${tap},depth=128,gro=1`);
    const command = [
      // The guest is several processes, which must all end with it.
      ...[
        'ip',
        'netns',
        'exec',
        host.namespace,
        'unshare',
        '--pid',
        '--fork',
        '--kill-child',
        'python3',
        '-c',
        WITHOUT_XSTATE,
        'linux.uml',
        'mem=96M',
      ],
      ...['root=/dev/root', 'rootfstype=hostfs', 'rootflags=/', 'ro', `init=${init}`, `UMLMOD=${modules}`],
      WITHOUT_AVX,
      ...devices,
      ...['con=null', 'con0=fd:0,fd:1', 'quiet', 'panic=1', `uml_dir=${folder}`, 'umid=guest'],
    ];
    const daemon = topology.keep(new Daemon(`${name}: guest`, command, { stdio: ['pipe', 'pipe', 'pipe'] }));
    const guest = new UmlGuest(daemon);
    await guest.#until('the guest', BOOT_MS, /the guest is ready/);
    return guest;
  }

  /** Runs shell commands in the guest and returns what they wrote. Rejects when the last one fails. */
  async shell(commands: string): Promise<string> {
    const mark = `done-${++this.#commands}`;
    const before = this.#daemon.stdout().length;
    // In two pieces, so that the command itself, should the console echo it, is not taken for its end.
    this.#daemon.child.stdin!.write(`{ ${commands}\n}; echo ${mark}''=$?\n`);
    const [, output = '', status] = await this.#until(
      commands,
      COMMAND_MS,
      new RegExp(`([^]*?)${mark}=(\\d+)`),
      before,
    );
    if (status !== '0') throw new Error(`guest: ${commands}\nended with ${status}: ${output.trim()}`);
    return output.trim();
  }

  #until(what: string, limitMs: number, wanted: RegExp, from = 0): Promise<RegExpExecArray> {
    return poll(what, limitMs, () => {
      const found = wanted.exec(this.#daemon.stdout().slice(from));
      if (found === null && !this.#daemon.isRunning)
        throw new Error(`the guest ended: ${this.#daemon.log()}`);
      return found ?? undefined;
    });
  }
}
