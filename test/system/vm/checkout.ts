import { cpSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of the sources that the running tests were compiled from. */
export const CHECKOUT = fileURLToPath(new URL('../../../../', import.meta.url));

/** What a fresh clone does not have. */
const MADE_HERE =
  /^(?:node_modules|dist[^/]*|\.git|native\/build|native\/build\.log|native\/prebuilds)(?:\/|$)/;

/** Copies the sources as a fresh clone has them. */
export function copyCheckout(to: string): void {
  cpSync(CHECKOUT, to, {
    recursive: true,
    filter: (source) => !MADE_HERE.test(relative(CHECKOUT, source)),
  });
}
