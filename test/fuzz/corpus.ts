import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The sources' folder, not the compiled one: what was found is kept under version control. */
const FOLDER = fileURLToPath(new URL('../../../test/fuzz/', import.meta.url));

export function corpusFolder(target: string): string {
  return join(FOLDER, 'corpus', target);
}

export function readCorpus(target: string): Uint8Array[] {
  const folder = corpusFolder(target);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .toSorted()
    .map((name) => new Uint8Array(readFileSync(join(folder, name))));
}

/** Named by content, so that equal inputs are one file. */
export function addToCorpus(target: string, input: Uint8Array): void {
  const folder = corpusFolder(target);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, nameOf(input)), input);
}

/** Makes these all that the corpus holds. */
export function replaceCorpus(target: string, inputs: readonly Uint8Array[]): void {
  rmSync(corpusFolder(target), { recursive: true, force: true });
  for (const input of inputs) addToCorpus(target, input);
}

/** Where inputs that found something are written, beside the corpus and not under version control. */
export function findingsFolder(): string {
  const folder = join(FOLDER, 'findings');
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** Returns the path. */
export function keepFinding(target: string, input: Uint8Array): string {
  const path = join(findingsFolder(), `${target}-${nameOf(input)}`);
  writeFileSync(path, input);
  return path;
}

function nameOf(input: Uint8Array): string {
  return createHash('sha256').update(input).digest('hex').slice(0, 16);
}
