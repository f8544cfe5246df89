import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkFiles, type SourceFile } from './tidy/rules.ts';

/**
 * Ends `npm run build`: checks the structure of the sources (who imports whom, what the packet path may contain, names, lengths) and
 * fails the build with file and line. The rules and their reasons are in tidy/rules.ts and tidy/hot-path.ts.
 */
const root = resolve(fileURLToPath(import.meta.url), '../../..');

function sourcesIn(folder: string): SourceFile[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({ path: relative(root, path).split(sep).join('/'), source: readFileSync(path, 'utf8') }));
}

const files = ['src', 'test', 'bench'].flatMap((folder) => sourcesIn(join(root, folder)));
const problems = checkFiles(files);
for (const { file, line, rule, detail } of problems) {
  process.stderr.write(`${file}:${line} ${rule}: ${detail}\n`);
}
if (problems.length > 0) {
  process.stderr.write(`${problems.length} problems in the structure of the sources\n`);
  process.exitCode = 1;
}
