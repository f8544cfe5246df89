import { inChild } from './in-child.ts';

export interface SteadyState {
  /** Handled between the marks. */
  readonly packets: number;
  /** Functions whose optimised code was thrown away between the marks, with V8's reason. */
  readonly deoptimised: readonly string[];
  /** A packet. */
  readonly heapBytes: number;
}

const FLAGS = ['--trace-deopt', '--allow-natives-syntax'];
/** `[bailout (kind: deopt-eager, reason: not a Smi): begin. deoptimizing 0x…, <JSFunction name …`. */
const BAILOUT = /^\[bailout \(kind: ([^)]*?)\):? begin.*?<JSFunction ([^\s>]*)/;

/** What happens to the engine's code and heap under mixed traffic; throws when V8 did not tell of the marks, that is, of nothing. */
export async function steadyState(): Promise<SteadyState> {
  const lines = (await inChild('./steady-loop.js', FLAGS)).trimEnd().split('\n');
  const bailouts = lines.flatMap((line) => {
    const [, why, name] = BAILOUT.exec(line) ?? [];
    return name === undefined ? [] : [{ name, why }];
  });
  const at = (mark: string): number => {
    const index = bailouts.findIndex(({ name }) => name === mark);
    if (index < 0) throw new Error(`V8 did not tell that ${mark} was deoptimised`);
    return index;
  };
  const within = bailouts.slice(at('steadyBegins') + 1, at('steadyEnds'));
  const measured = JSON.parse(lines.at(-1)!) as Omit<SteadyState, 'deoptimised'>;
  return { ...measured, deoptimised: within.map(({ name, why }) => `${name} (${why})`) };
}
