import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { Status } from '../../src/admin/view.ts';
import { Daemon } from '../../src/measure/daemon.ts';
import { findProgram, lacking } from '../../src/measure/sandbox.ts';
import { entryOf } from '../../src/measure/shipped-gateway.ts';
import { poll, run } from '../../src/measure/topology.ts';
import { type TwoClusters, twoClusters } from '../../src/measure/two-clusters.ts';
import { FULL_PACKAGES, makeRootFileSystem, SLIM_PACKAGES } from './container/base-image.ts';
import { ImageStore } from './container/image-store.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { GatewayProcess } from './topology/gateway-process.ts';
import { suiteInScene } from './topology/scene.ts';
import { CHECKOUT, copyCheckout } from './vm/checkout.ts';
import { readChapters } from './vm/page.ts';
import { allowedSystemCalls, seccompProfile } from './vm/syscall-filter.ts';
import { parseUnit } from './vm/unit-file.ts';

/**
 * The image that the Dockerfile makes, on base images of the same names made from this machine's packages and Node, and the command of
 * docs/install-container.md that runs it.
 */
const IMAGE = 'localhost/isthmus:test';
const SIZE_BYTES_MAX = 200e6;
const READY_MS = 20_000;
const BLOCKS = readChapters(readFileSync(join(CHECKOUT, 'docs', 'install-container.md'), 'utf8')).flatMap(
  (chapter) => chapter.blocks,
);

interface ContainerScene extends TwoClusters {
  readonly images: ImageStore;
}

async function makeScene(): Promise<ContainerScene> {
  await useUnifiedCgroups();
  const scene = await twoClusters();
  await openTunDevice(scene.topology.folder);
  return { ...scene, images: await ImageStore.make() };
}

/** crun refuses the mixture of both cgroup versions; in the sandbox only, the second alone takes its place. */
async function useUnifiedCgroups(): Promise<void> {
  if (existsSync('/sys/fs/cgroup/cgroup.controllers')) return;
  await run(['sh', '-euc', 'umount --recursive /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup']);
}

/** As udev has it, open to every user: a machine without udev has it for root alone. In the sandbox only. */
async function openTunDevice(folder: string): Promise<void> {
  const node = join(folder, 'tun');
  await run(['sh', '-euc', 'mknod -m 666 "$0" c 10 200 && mount --bind "$0" /dev/net/tun', node]);
}

/** The page's `docker run`, for podman: in the namespace of the gateway's machine, with a folder of the test for /etc/isthmus. */
function runCommand(scene: ContainerScene, configuration: string, more: readonly string[]): string[] {
  const block = BLOCKS.find(({ place }) => place === 'run');
  const [docker, verb, ...words] = (block?.text ?? '').replaceAll('\\\n', ' ').trim().split(/\s+/);
  assert.deepEqual([docker, verb, words.pop()], ['docker', 'run', 'isthmus']);
  const namespace = scene.a.gateways[0]!.machine.namespace;
  const ours = words
    .join(' ')
    .replace('--network host', `--network ns:/run/netns/${namespace}`)
    .replace('--volume /etc/isthmus:', `--volume ${configuration}:`)
    // The test reads its output and sees its end.
    .replace('--detach ', '')
    .replace('--restart on-failure ', '');
  // What podman asks of its host beyond that, where the host is a sandbox.
  const limits = ['--cgroups', 'disabled', '--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=4096:4096'];
  return scene.images.podman('run', '--rm', '--pull', 'never', ...limits, ...ours.split(' '), ...more, IMAGE);
}

function writeConfiguration(scene: ContainerScene): string {
  const folder = join(scene.topology.folder, 'etc-isthmus');
  mkdirSync(folder, { recursive: true });
  // mkdtemp makes folders for their owner alone; the gateway is another user.
  chmodSync(scene.topology.folder, 0o755);
  const configuration = {
    cluster: { name: scene.a.name, cidrs: [scene.a.cidr] },
    underlay: { address: scene.a.gateways[0]!.address },
    clusters: [entryOf(scene.b)],
    services: { cidrs: ['10.1.200.0/24'] },
  };
  writeFileSync(join(folder, 'isthmus.yaml'), stringify(configuration));
  return folder;
}

async function readyContainer(scene: ContainerScene, container: Daemon): Promise<Status> {
  return poll('the container ready', READY_MS, async () => {
    if (!container.isRunning) throw new Error(`the container ended:\n${container.log()}`);
    if (!container.log().includes('"forwarding"')) return undefined;
    return JSON.parse(
      await run(scene.images.podman('exec', 'isthmus', 'isthmus', 'status', '--json')),
    ) as Status;
  });
}

/** The process of the container's gateway, by what it executes. */
function gatewayStatus(): string {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const command = existsSync(`/proc/${pid}/cmdline`) ? readFileSync(`/proc/${pid}/cmdline`, 'latin1') : '';
    if (command.startsWith('node\0/opt/isthmus/dist/src/main.js\0run\0'))
      return readFileSync(`/proc/${pid}/status`, 'utf8');
  }
  throw new Error('no gateway of a container runs');
}

/** Runs the container as one gateway and an ordinary process as the other, sends through both, stops them. */
async function joins(scene: ContainerScene, more: readonly string[]): Promise<void> {
  const other = new GatewayProcess(scene.topology, scene.b.gateways[0]!);
  other.configure(scene.b, scene.a);
  other.start();
  const command = runCommand(scene, writeConfiguration(scene), more);
  const container = scene.topology.keep(new Daemon('container', command, {}));
  try {
    await other.ready();
    const status = await readyContainer(scene, container);
    assert.equal(status.counts.routes, 1);
    const process = gatewayStatus();
    assert.match(process, /^Uid:\s+65532\s+65532\s+65532\s+65532$/m);
    // CAP_NET_ADMIN is bit 12, CAP_NET_RAW bit 13.
    for (const set of ['CapPrm', 'CapEff', 'CapBnd'])
      assert.match(process, new RegExp(`^${set}:\\s+0{12}3000$`, 'm'));
    await poll('nft of the image may write rules', READY_MS, async () =>
      (await scene.a.gateways[0]!.machine.exec('nft', 'list', 'tables')).includes('table ip isthmus'),
    );
    await pingThrough(scene);
  } finally {
    if (container.isRunning) await run(scene.images.podman('stop', '--time', '5', 'isthmus'));
    await other.kill('SIGTERM');
  }
  assert.equal(await container.exited, 0, container.log());
  const links = await scene.a.gateways[0]!.machine.ipJson<{ ifname: string }>('link', 'show');
  assert.ok(!links.some((link) => link.ifname === 'isthmus0'));
}

async function pingThrough(scene: ContainerScene): Promise<void> {
  const agent = await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT);
  const destination = scene.b.pods[0]!.address;
  const ping = await agent.call('ping', {
    destination,
    count: 200,
    intervalMs: 2,
    sizeBytes: 1480,
    seed: 1,
    timeoutMs: 3000,
  });
  assert.deepEqual([ping.received, ping.corrupted, ping.duplicated], [200, 0, 0]);
}

const skip =
  (process.getuid?.() === 0 ? undefined : 'needs root, for the users of an image') ??
  lacking('buildah', 'buildah') ??
  lacking('podman', 'podman') ??
  lacking('crun', 'crun') ??
  lacking('dpkg', 'dpkg') ??
  lacking('setcap', 'libcap2-bin') ??
  lacking('g++', 'g++') ??
  lacking('python3', 'python3');

suiteInScene('the container image', { make: makeScene, skip }, (check) => {
  check('is built from a clean checkout', async ({ images, topology }) => {
    const bases = [
      { tag: '24-bookworm', packages: FULL_PACKAGES },
      { tag: '24-bookworm-slim', packages: SLIM_PACKAGES },
    ];
    for (const { tag, packages } of bases) {
      const folder = join(images.folder, tag);
      await makeRootFileSystem(folder, packages);
      await images.importImage(`docker.io/library/node:${tag}`, folder);
    }
    const context = join(topology.folder, 'context');
    mkdirSync(context);
    copyCheckout(context);
    await images.build(IMAGE, context);
  });

  check('is small, runs Node directly as a numbered user, and says what it is', async ({ images }) => {
    const image = await images.describe(IMAGE);
    process.stdout.write(`image: ${(image.sizeBytes / 1e6).toFixed(0)} MB\n`);
    assert.ok(image.sizeBytes < SIZE_BYTES_MAX, `${image.sizeBytes} bytes`);
    assert.equal(image.user, '65532:65532');
    assert.deepEqual(image.entrypoint, ['node', '/opt/isthmus/dist/src/main.js']);
    assert.equal(image.labels['org.opencontainers.image.licenses'], 'Apache-2.0');
  });

  check(
    'has the two file capabilities and no more, no setuid program, no npm and no compiler',
    async ({ images }) => {
      await images.withFiles(IMAGE, async (root) => {
        const capabilities = await run([findProgram('getcap')!, '-r', root]);
        assert.deepEqual(capabilities.trim().split('\n').sort(), [
          `${root}/usr/local/bin/node cap_net_admin,cap_net_raw=ep`,
          `${root}/usr/sbin/nft cap_net_admin=ep`,
        ]);
        assert.equal(await run(['find', root, '-xdev', '-type', 'f', '-perm', '/6000']), '');
        const unwanted = ['npm', 'npx', 'gcc', 'cc', 'make', 'yarn', 'corepack'].flatMap((name) =>
          ['usr/bin', 'usr/local/bin'].map((folder) => join(root, folder, name)),
        );
        assert.deepEqual(unwanted.filter(existsSync), []);
        const sources = await run([
          'find',
          join(root, 'opt'),
          '-name',
          '*.ts',
          '-o',
          '-name',
          '*.c',
          '-o',
          '-name',
          '*.map',
        ]);
        assert.equal(sources, '');
      });
    },
  );

  check('joins two clusters with the arguments of the page', (scene) => joins(scene, []));

  check('joins them also where it may gain no privileges', (scene) =>
    joins(scene, ['--security-opt', 'no-new-privileges']),
  );

  check('joins them under the system call filter of the systemd unit', async (scene) => {
    const unit = parseUnit(readFileSync(join(CHECKOUT, 'deploy', 'systemd', 'isthmus.service'), 'utf8'));
    const profile = join(scene.topology.folder, 'seccomp.json');
    writeFileSync(profile, seccompProfile(await allowedSystemCalls(unit)));
    await joins(scene, ['--security-opt', 'no-new-privileges', '--security-opt', `seccomp=${profile}`]);
  });

  check('is not started by the kernel where a capability was not given', async (scene) => {
    const words = runCommand(scene, writeConfiguration(scene), []);
    const command = words.toSpliced(words.indexOf('NET_ADMIN') - 1, 2);
    await assert.rejects(run(command), /operation not permitted/i);
  });

  check('leaves nothing of its making', async ({ images }) => {
    await images.remove();
    assert.ok(!existsSync(images.folder));
  });
});
