/** One sample of the text format. */
export interface ParsedSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Exposition {
  readonly help: ReadonlyMap<string, string>;
  readonly types: ReadonlyMap<string, string>;
  readonly samples: readonly ParsedSample[];
}

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/g;

/** Reads the Prometheus text format 0.0.4 strictly: throws on any line that is not of it. */
export function parseExposition(text: string): Exposition {
  const help = new Map<string, string>();
  const types = new Map<string, string>();
  const samples: ParsedSample[] = [];
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const [, kind, name, rest] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? [];
    if (kind !== undefined && name !== undefined && rest !== undefined) {
      const map = kind === 'HELP' ? help : types;
      if (map.has(name)) throw new Error(`${kind} of ${name} stands there twice`);
      map.set(name, rest);
      continue;
    }
    const [, sample, inner = '', number] = SAMPLE.exec(line) ?? [];
    if (sample === undefined || number === undefined) throw new Error(`no line of the format: ${line}`);
    const labels = [...inner.matchAll(LABEL)];
    if (labels.map(([whole]) => whole).join('') !== inner) throw new Error(`labels cannot be read: ${line}`);
    const value = number === '+Inf' ? Number.POSITIVE_INFINITY : Number(number);
    if (Number.isNaN(value)) throw new Error(`no number: ${line}`);
    samples.push({
      name: sample,
      labels: Object.fromEntries(labels.map(([, key, each]) => [key, each])),
      value,
    });
  }
  return { help, types, samples };
}
