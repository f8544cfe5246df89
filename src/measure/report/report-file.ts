import { randomUUID } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import { GatewayError, messageOf } from '../../base/errors.ts';

/**
 * Fails where a report could not be written. Asked before anything is measured: ten minutes of measuring must not end with a folder
 * that does not exist.
 */
export function checkReportFile(file: string): void {
  const folder = dirname(resolve(file));
  if (!existsSync(folder)) throw refused(file, `there is no folder ${folder}`);
  if (!statSync(folder).isDirectory()) throw refused(file, `${folder} is not a folder`);
  if (existsSync(file) && statSync(file).isDirectory()) throw refused(file, 'it is a folder');
}

/** Replaces a file at once: whoever opens it finds the old report or the new one, whole. Throws ISTHMUS_ERR_USAGE with the reason. */
export function writeReportFile(file: string, text: string): void {
  checkReportFile(file);
  // Two runs may write the same report; each has a file of its own beside it, on the same file system, where a rename is one step.
  const next = `${file}.${randomUUID()}.new`;
  try {
    const handle = openSync(next, 'wx', 0o644);
    try {
      writeFileSync(handle, text);
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
    renameSync(next, file);
  } catch (cause) {
    rmSync(next, { force: true });
    throw refused(file, messageOf(cause), cause);
  }
}

function refused(file: string, why: string, cause?: unknown): GatewayError {
  return new GatewayError('ISTHMUS_ERR_USAGE', `cannot write the report ${file}: ${why}`, { cause });
}
