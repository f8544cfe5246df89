import { control } from './control.ts';
import { fleet } from './fleet.ts';
import { kubernetes } from './kubernetes.ts';
import { memory } from './memory.ts';
import { collections } from './path/collections.ts';
import { restart } from './restart.ts';
import { answer } from './sandboxed.ts';

/** The benchmarks that need machines of their own, by section; run by `inSandbox` with the section's name and its options as JSON. */
const SECTIONS = { collections, memory, control, restart, fleet, kubernetes } as const;

const [section, options] = process.argv.slice(2) as [keyof typeof SECTIONS, string];
const measureSection = SECTIONS[section] as (options: unknown) => Promise<unknown>;
answer(await measureSection(JSON.parse(options)));
process.exit(0);
