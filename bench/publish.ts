import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { reportOf } from './report.ts';
import {
  loadResults,
  PACKAGE_FOLDER,
  REPORT_FILE,
  RESULTS_FILE,
  type Results,
  saveResults,
} from './results.ts';

/** Replaces the sections that were measured in bench/results.json, keeps the others, and writes bench/RESULTS.md from all. */
export function publish(measured: Results): void {
  const results = { ...loadResults(), ...measured };
  saveResults(results);
  writeFileSync(REPORT_FILE, `${reportOf(results)}\n`);
  // The repository's formatter checks both files; unformatted they would fail its next run.
  const formatter = join(PACKAGE_FOLDER, 'node_modules', '.bin', 'biome');
  spawnSync(formatter, ['format', '--write', RESULTS_FILE, REPORT_FILE], { cwd: PACKAGE_FOLDER });
}
