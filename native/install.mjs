// Provides the native addon: what `npm ci` runs, and what `node native/install.mjs` runs by hand.
//
// A prebuilt binary that loads is used as it is. Otherwise the C sources are compiled with node-gyp. Whatever fails ends in one line
// that says what to do, because an npm log full of gyp output hides the only thing that matters: which package is missing.
// Plain JavaScript without dependencies: it runs before anything is installed or compiled.

import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const native = dirname(fileURLToPath(import.meta.url));
const root = dirname(native);
const require = createRequire(import.meta.url);
const sanitize = process.env.ISTHMUS_SANITIZE === '1';
const LOG_LINES_SHOWN = 15;

process.exitCode = main();

function main() {
  if (process.platform !== 'linux') {
    return fail(`isthmus runs on Linux only, not on ${process.platform}`);
  }
  const prebuilt = join(native, 'prebuilds', `linux-${process.arch}`, 'isthmus.node');
  if (!sanitize && existsSync(prebuilt) && loads(prebuilt)) {
    say('native addon: prebuilt binary');
    return reportRawSocket();
  }
  const missing = missingTool();
  if (missing !== undefined) return fail(missing);
  const gyp = findNodeGyp();
  if (gyp === undefined) {
    return fail(
      'node-gyp is missing, which npm brings along: install npm, or set npm_config_node_gyp to node-gyp.js',
    );
  }
  const built = compile(gyp);
  return built === 0 ? reportRawSocket() : built;
}

function say(line) {
  process.stdout.write(`isthmus: ${line}\n`);
}

function fail(line) {
  process.stderr.write(`isthmus: ${line}\n`);
  return 1;
}

// In a process of its own: a binary for another libc can take the process down with it.
function loads(file) {
  const script = `process.dlopen({ exports: {} }, ${JSON.stringify(file)})`;
  return spawnSync(process.execPath, ['-e', script], { stdio: 'ignore' }).status === 0;
}

function missingTool() {
  const compiler = process.env.CC?.trim().split(/\s+/)[0];
  const tools = [
    { names: pythonNames(), what: 'Python 3', debian: 'python3' },
    { names: ['make'], what: 'make', debian: 'make' },
    { names: compiler ? [compiler] : ['cc', 'gcc', 'clang'], what: 'a C compiler', debian: 'g++' },
  ];
  // g++ brings gcc and the C library's headers, and compiles the optional package raw-socket too.
  const missing = tools.filter((tool) => !tool.names.some(isOnPath));
  if (missing.length === 0) return undefined;
  const what = missing.map((tool) => tool.what).join(' and ');
  const packages = missing.map((tool) => tool.debian).join(' ');
  return `compiling the native addon needs ${what}; on Debian: apt-get install ${packages}`;
}

function pythonNames() {
  const named = process.env.npm_config_python ?? process.env.PYTHON;
  return named ? [named] : ['python3', 'python'];
}

function isOnPath(name) {
  const folders = name.includes('/') ? [''] : (process.env.PATH ?? '').split(delimiter);
  return folders.some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

// npm names its copy in the environment of every script; by hand, it lies beside the npm of this Node or the first one on PATH.
function findNodeGyp() {
  const prefix = dirname(dirname(process.execPath));
  const inside = ['node_modules', 'npm', 'node_modules', 'node-gyp', 'bin', 'node-gyp.js'];
  const candidates = [
    process.env.npm_config_node_gyp,
    join(root, 'node_modules', 'node-gyp', 'bin', 'node-gyp.js'),
    join(prefix, 'lib', ...inside),
    '/usr/lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js',
    '/usr/share/nodejs/node-gyp/bin/node-gyp.js',
    ...(process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, '..', 'lib', ...inside)),
  ];
  return candidates.find((file) => file && existsSync(file));
}

// Headers that lie beside this very Node spare a download from nodejs.org, which a build machine may not reach. A nodedir that was
// given, in the environment or in .npmrc, comes first.
function nodeDirectory() {
  const given = process.env.npm_config_nodedir;
  if (given) return given;
  const prefix = dirname(dirname(process.execPath));
  const header = join(prefix, 'include', 'node', 'node_version.h');
  if (!existsSync(header)) return undefined;
  const text = readFileSync(header, 'utf8');
  const version = ['MAJOR', 'MINOR', 'PATCH'].map(
    (part) => new RegExp(`#define NODE_${part}_VERSION (\\d+)`).exec(text)?.[1],
  );
  return version.join('.') === process.versions.node ? prefix : undefined;
}

function compile(gyp) {
  say(`native addon: compiling${sanitize ? ' with sanitizers' : ''}`);
  const headers = nodeDirectory();
  const arguments_ = [
    gyp,
    'rebuild',
    '-C',
    native,
    ...(headers === undefined ? [] : [`--nodedir=${headers}`]),
  ];
  const run = spawnSync(process.execPath, arguments_, { encoding: 'utf8', maxBuffer: 64 << 20 });
  const output = `${run.stdout ?? ''}${run.stderr ?? ''}${run.error ?? ''}`;
  const log = join(native, 'build.log');
  const binary = join(native, 'build', 'Release', 'isthmus.node');
  if (run.status === 0 && existsSync(binary)) {
    // A sanitized binary needs its runtime preloaded, so trying to load it here would tell nothing.
    if (sanitize || loads(binary)) {
      say('native addon: ready');
      return 0;
    }
    return fail(`the native addon was compiled, but Node ${process.versions.node} cannot load ${binary}`);
  }
  mkdirSync(native, { recursive: true });
  writeFileSync(log, output);
  const tail = output.trimEnd().split('\n').slice(-LOG_LINES_SHOWN).join('\n');
  process.stderr.write(`${tail}\n`);
  return fail(`${explain(output)} (whole output: ${log})`);
}

function explain(output) {
  if (/nodejs\.org.*(headers|SHASUMS)/.test(output) && /network|ENOTFOUND|ECONN|ETIMEDOUT/.test(output)) {
    return "compiling the native addon failed: Node's headers cannot be downloaded; install Node with its headers, or set npm_config_nodedir to where include/node lies";
  }
  if (/(stdio|errno|string)\.h: No such file|limits\.h: No such file/.test(output)) {
    return 'compiling the native addon failed: the C library headers are missing; on Debian: apt-get install libc6-dev';
  }
  return 'compiling the native addon failed';
}

// npm says nothing when an optional dependency could not be compiled, and removes it.
function reportRawSocket() {
  let isThere = false;
  try {
    const folder = dirname(require.resolve('raw-socket/package.json'));
    isThere = existsSync(join(folder, 'build', 'Release', 'raw.node'));
  } catch {
    // Not installed: the same line tells.
  }
  if (!isThere) {
    say(
      'the optional package raw-socket is not compiled (it needs g++): tunnel.underlaySocket must stay "batch", and ICMP errors are neither sent nor heard',
    );
  }
  return 0;
}
