import { ERROR_CODES } from '../../../src/base/errors.ts';
import { DROP_REASONS } from '../../../src/packet/verdict.ts';

/** The rows of the table in docs/drop-reasons.md, made from the reasons in the source. */
export function dropReasonRows(): string[] {
  return DROP_REASONS.filter(({ verdict }) => verdict !== 0).map(
    ({ name, direction, meaning }) => `| \`${name}\` | ${direction} | ${meaning} |`,
  );
}

/** The rows of the table in docs/errors.md, made from the codes in the source. */
export function errorRows(): string[] {
  return Object.entries(ERROR_CODES).map(
    ([code, { exit, meaning }]) => `| \`${code}\` | ${exit} | ${meaning} |`,
  );
}
