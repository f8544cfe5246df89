/** The layers in the order they run: what fails fastest comes first. */
export const LAYERS: readonly Layer[] = [
  { name: 'unit', concurrency: 2, sandbox: false, nodeFlags: [], timeoutMs: 60_000 },
  // Bytes on the heap are compared before and after, in a child process with its own flags; nothing else should run beside it.
  {
    name: 'alloc',
    concurrency: 1,
    sandbox: false,
    nodeFlags: [],
    timeoutMs: 60_000,
  },
  { name: 'sim', concurrency: 2, sandbox: false, nodeFlags: [], timeoutMs: 120_000 },
  // Four machines share the cores of one, and some tests count what is lost at a rate: one at a time.
  { name: 'system', concurrency: 1, sandbox: true, nodeFlags: [], timeoutMs: 240_000 },
  { name: 'interop', concurrency: 1, sandbox: true, nodeFlags: [], timeoutMs: 240_000 },
  // Compiles with sanitizers, and runs the addon's tests with them: several times as slow as without.
  { name: 'fuzz', concurrency: 1, sandbox: false, nodeFlags: [], timeoutMs: 300_000 },
];

export interface Layer {
  readonly name: string;
  readonly concurrency: number;
  /** Every file of the layer runs in namespaces of its own, see system/topology/sandbox.ts. */
  readonly sandbox: boolean;
  readonly nodeFlags: readonly string[];
  /** For one file. */
  readonly timeoutMs: number;
}

export interface Selected {
  readonly layer: Layer;
  /** Compiled files, relative to the compiled test folder. */
  readonly files: readonly string[];
}

/**
 * Picks among the compiled test files (relative to the compiled test folder, forward slashes). A word is the name of a layer, or any
 * part of a path: `unit`, `system/ping`, `test/unit/packet/ipv4.test.ts` and `dist/test/unit/packet` all work. No words: all files.
 */
export function select(files: readonly string[], words: readonly string[]): Selected[] {
  const wanted = words.map(normalize);
  const matches = (file: string): boolean =>
    wanted.length === 0 || wanted.some((word) => file.startsWith(`${word}/`) || file.includes(word));
  return LAYERS.map((layer) => ({
    layer,
    files: files
      .filter((file) => file.startsWith(`${layer.name}/`) && file.endsWith('.test.js') && matches(file))
      .toSorted(),
  })).filter((selected) => selected.files.length > 0);
}

function normalize(word: string): string {
  return word
    .replace(/^\.\//, '')
    .replace(/^(?:dist[^/]*\/)?test\//, '')
    .replace(/\.ts$/, '.js')
    .replace(/\/$/, '');
}
