import { writeFileSync } from 'node:fs';
import { reportOf } from './report.ts';
import { loadResults, REPORT_FILE, type Results, saveResults } from './results.ts';

/** Replaces the sections that were measured in bench/results.json, keeps the others, and writes bench/RESULTS.md from all. */
export function publish(measured: Results): void {
  const results = { ...loadResults(), ...measured };
  saveResults(results);
  writeFileSync(REPORT_FILE, `${reportOf(results)}\n`);
}
