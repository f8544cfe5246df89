import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../../src/measure/topology.ts';

export interface ImageDescription {
  readonly sizeBytes: number;
  readonly user: string;
  readonly entrypoint: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

/** Images in a folder of their own: nothing of the machine's images is read, and nothing is left. */
export class ImageStore {
  readonly folder: string;
  readonly #storage: readonly string[];

  private constructor(folder: string, driver: string) {
    this.folder = folder;
    this.#storage = [
      '--root',
      join(folder, 'root'),
      '--runroot',
      join(folder, 'run'),
      '--storage-driver',
      driver,
    ];
  }

  static async make(): Promise<ImageStore> {
    // Not in the sandbox's /run: that is memory, and three images are more than a gigabyte.
    const folder = mkdtempSync(join(tmpdir(), 'isthmus-images-'));
    return new ImageStore(folder, (await overlayWorks(folder)) ? 'overlay' : 'vfs');
  }

  /** The command that runs podman on this store. */
  podman(...words: readonly string[]): string[] {
    const places = [
      '--tmpdir',
      join(this.folder, 'tmp'),
      '--cgroup-manager',
      'cgroupfs',
      '--events-backend',
      'none',
    ];
    return ['podman', ...this.#storage, ...places, ...words];
  }

  async importImage(name: string, rootFileSystem: string): Promise<void> {
    const container = (await this.#buildah('from', 'scratch')).trim();
    await this.#buildah('add', '--quiet', container, rootFileSystem, '/');
    await this.#buildah(
      'config',
      '--env',
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      container,
    );
    await this.#buildah('commit', '--quiet', '--rm', container, name);
    rmSync(rootFileSystem, { recursive: true });
  }

  /** Builds the Dockerfile in `context` without a network: npm takes its packages from the cache that `npm ci` filled. */
  async build(name: string, context: string): Promise<void> {
    const settings = join(this.folder, 'npmrc');
    writeFileSync(settings, 'offline=true\n');
    // A copy, because a step of the build may delete what is mounted into it.
    const cache = join(this.folder, 'npm-cache');
    const filled = join(process.env.npm_config_cache ?? join(homedir(), '.npm'), '_cacache');
    cpSync(filled, join(cache, '_cacache'), { recursive: true });
    await this.#buildah(
      ...['build', '--isolation', 'chroot', '--pull-never', '--network', 'host', '--tag', name],
      ...['--volume', `${cache}:/root/.npm`, '--volume', `${settings}:/root/.npmrc:ro`, context],
    );
  }

  async describe(name: string): Promise<ImageDescription> {
    const [image] = JSON.parse(await run(this.podman('image', 'inspect', name))) as [
      { Size: number; Config: { User: string; Entrypoint: string[]; Labels: Record<string, string> } },
    ];
    const { User: user, Entrypoint: entrypoint, Labels: labels } = image.Config;
    return { sizeBytes: image.Size, user, entrypoint, labels };
  }

  /** Runs `look` on the mounted files of an image. */
  async withFiles<T>(name: string, look: (root: string) => Promise<T>): Promise<T> {
    const container = (await this.#buildah('from', '--pull-never', name)).trim();
    try {
      return await look((await this.#buildah('mount', container)).trim());
    } finally {
      await this.#buildah('umount', container);
      await this.#buildah('rm', container);
    }
  }

  /** Deletes everything, but nothing that is mounted in it from elsewhere. */
  async remove(): Promise<void> {
    await run(this.podman('rm', '--all', '--force', '--time', '0'));
    for (const mounted of this.#mountsInside()) await run(['umount', '--lazy', mounted]);
    const left = this.#mountsInside();
    if (left.length > 0) throw new Error(`still mounted, so nothing is deleted: ${left.join(', ')}`);
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** The deepest first. */
  #mountsInside(): string[] {
    const points = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '');
    return points
      .filter((point) => point.startsWith(`${this.folder}/`))
      .toSorted()
      .toReversed();
  }

  #buildah(...words: readonly string[]): Promise<string> {
    return run(['buildah', ...this.#storage, ...words]);
  }
}

/** Not on every file system, so not in a container whose own root is an overlay. */
async function overlayWorks(folder: string): Promise<boolean> {
  const probe = join(folder, 'probe');
  for (const name of ['lower', 'upper', 'work', 'merged']) mkdirSync(join(probe, name), { recursive: true });
  const layers = `lowerdir=${probe}/lower,upperdir=${probe}/upper,workdir=${probe}/work`;
  const script = `mount -t overlay overlay -o ${layers} ${probe}/merged && umount ${probe}/merged`;
  const works = await run(['sh', '-c', script]).then(
    () => true,
    () => false,
  );
  rmSync(probe, { recursive: true });
  return works;
}
