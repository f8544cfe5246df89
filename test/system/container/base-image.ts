import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { findProgram } from '../../../src/measure/sandbox.ts';
import { run } from '../../../src/measure/topology.ts';

/** Makes root file systems as the official Node images have them, from the Debian packages and the Node of this machine: no registry. */

/** Packages that node:24-bookworm-slim has besides the essential ones, as far as the Dockerfile relies on them, and nftables, which it would download. */
export const SLIM_PACKAGES = ['libstdc++6', 'libatomic1', 'nftables'];
/** What node:24-bookworm has for compiling. */
export const FULL_PACKAGES = [
  ...SLIM_PACKAGES,
  'g++',
  'gcc',
  'make',
  'python3',
  'libcap2-bin',
  'ca-certificates',
];

/** Files that no package owns but that their installation makes. */
const MADE_BY_INSTALLATION = ['etc/passwd', 'etc/group', 'etc/ld.so.cache', 'bin', 'sbin', 'lib', 'lib64'];
const LEFT_OUT = /^\/usr\/share\/(?:doc|man|locale|info)(?:\/|$)/;
const EMPTY_FOLDERS = ['tmp', 'proc', 'sys', 'dev', 'run', 'root', 'home', 'opt', 'var/tmp', 'usr/local/bin'];

interface Package {
  readonly isEssential: boolean;
  /** Each element is a list of alternatives. */
  readonly needs: readonly (readonly string[])[];
}

/** Fills `folder` with the files of the packages, of what they need, and of Node with npm and its headers. */
export async function makeRootFileSystem(folder: string, packages: readonly string[]): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const files = await filesOf(await closure(packages));
  const list = `${folder}.files`;
  writeFileSync(
    list,
    [...new Set([...files, ...MADE_BY_INSTALLATION, ...alternatives(new Set(files))])].join('\n'),
  );
  const unpack = 'tar -C / --no-recursion -cf - -T "$0" | tar -C "$1" -xf -';
  await run(['sh', '-euc', unpack, list, folder]);
  for (const empty of EMPTY_FOLDERS) mkdirSync(join(folder, empty), { recursive: true });
  addNode(join(folder, 'usr', 'local'));
}

async function closure(wanted: readonly string[]): Promise<Set<string>> {
  const { installed, provided } = await installedPackages();
  const found = new Set<string>();
  const add = (name: string): void => {
    const described = installed.get(name);
    if (described === undefined || found.has(name)) return;
    found.add(name);
    for (const choice of described.needs) {
      const there = choice.map((each) => (installed.has(each) ? each : provided.get(each))).find(Boolean);
      if (there !== undefined) add(there);
    }
  };
  for (const [name, { isEssential }] of installed) if (isEssential) add(name);
  for (const name of wanted) {
    if (!installed.has(name)) throw new Error(`Debian package ${name} is not installed`);
    add(name);
  }
  return found;
}

async function installedPackages(): Promise<{
  installed: Map<string, Package>;
  provided: Map<string, string>;
}> {
  const fields = ['Package', 'Status', 'Essential', 'Pre-Depends', 'Depends', 'Provides'];
  const format = `${fields.map((field) => `\${${field}}`).join('\\t')}\\n`;
  const installed = new Map<string, Package>();
  const provided = new Map<string, string>();
  for (const line of (await run(['dpkg-query', '-W', '-f', format])).split('\n')) {
    const [name = '', status = '', essential = '', before = '', depends = '', provides = ''] =
      line.split('\t');
    if (!status.endsWith(' installed')) continue;
    installed.set(name, {
      isEssential: essential === 'yes',
      needs: names(`${before},${depends}`, ',').map((choice) => names(choice, '|').map(bareName)),
    });
    for (const each of names(provides, ',')) provided.set(bareName(each), name);
  }
  return { installed, provided };
}

function names(text: string, separator: string): string[] {
  return text
    .split(separator)
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

/** `libc6:amd64 (>= 2.36)` is `libc6`. */
function bareName(text: string): string {
  return text.replace(/[:( ].*$/, '');
}

/** Paths without the leading slash, in the places where a merged /usr has them. */
async function filesOf(packages: ReadonlySet<string>): Promise<string[]> {
  const folders = new Map<string, string>();
  const inPlace = (path: string): string => {
    const folder = dirname(path);
    if (!folders.has(folder)) folders.set(folder, existsSync(folder) ? realpathSync(folder) : folder);
    return join(folders.get(folder)!, basename(path));
  };
  const listed = (await run(['dpkg', '-L', ...packages])).split('\n');
  const places = listed.filter((path) => path.startsWith('/') && path !== '/.').map(inPlace);
  return places.filter((path) => !LEFT_OUT.test(path) && isThere(path)).map((path) => path.slice(1));
}

/** update-alternatives makes links that no package owns, /usr/bin/cc → /etc/alternatives/cc → gcc: those that lead to one of `files`. */
function alternatives(files: ReadonlySet<string>): string[] {
  const linksIn = (folder: string): string[] =>
    readdirSync(folder)
      .map((name) => join(folder, name))
      .filter((path) => lstatSync(path).isSymbolicLink());
  const links = linksIn('/usr/bin').filter((path) => readlinkSync(path).startsWith('/etc/alternatives/'));
  return [...linksIn('/etc/alternatives'), ...links]
    .filter((path) => existsSync(path) && files.has(realpathSync(path).slice(1)))
    .map((path) => path.slice(1));
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** /usr/local as Node's archive fills it: the program, its headers, npm. */
function addNode(local: string): void {
  cpSync(process.execPath, join(local, 'bin', 'node'));
  cpSync(join(headersPrefix(), 'include', 'node'), join(local, 'include', 'node'), { recursive: true });
  const npm = findProgram('npm');
  if (npm === undefined) throw new Error('npm is not on the PATH');
  // …/npm/bin/npm-cli.js
  const folder = dirname(dirname(realpathSync(npm)));
  cpSync(folder, join(local, 'lib', 'node_modules', 'npm'), { recursive: true });
  symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(local, 'bin', 'npm'));
}

/** Where this Node has its headers: beside it, or where npm_config_nodedir says. */
export function headersPrefix(): string {
  const places = [process.env.npm_config_nodedir, dirname(dirname(process.execPath))];
  const found = places.find(
    (place) => place !== undefined && existsSync(join(place, 'include', 'node', 'node_api.h')),
  );
  if (found === undefined)
    throw new Error(`the headers of Node are in none of ${places.filter(Boolean).join(', ')}`);
  return found;
}
