import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { GatewayError, messageOf } from '../base/errors.ts';
import { verifySnapshot } from '../table/snapshot.ts';

/**
 * Reads the snapshot of the route table; undefined when there is none. Throws ISTHMUS_ERR_STATE with the file's name when it cannot be read,
 * is truncated or damaged: the gateway can go on without. A damaged file is put aside as `<file>.bad`, because the next write would destroy
 * the evidence.
 */
export function readSnapshotFile(file: string): string | undefined {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(file);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw stateError(`cannot read ${file}: ${messageOf(cause)}`, cause);
  }
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    verifySnapshot(text);
    return text;
  } catch (cause) {
    throw stateError(`${file} is not used: ${messageOf(cause)}; ${putAside(file)}`, cause);
  }
}

/**
 * Replaces a file of the state directory. A reader finds the old text or the new one, whole, whatever happens in between: it is written to a file beside, which
 * is synced and renamed, and then the folder is synced (a rename may reach the disk before the data, and after a power cut the name would
 * stand for an empty file). Throws ISTHMUS_ERR_STATE; what was there then still is. Synchronous, so that the last write at exit is done when
 * it returns.
 */
export function writeFileAtomically(file: string, text: string): void {
  const next = `${file}.new`;
  const folder = dirname(file);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o750 });
    writeThrough(next, text);
    renameSync(next, file);
    syncFolder(folder);
  } catch (cause) {
    removeQuietly(next);
    throw stateError(`cannot write ${file}: ${messageOf(cause)}`, cause);
  }
}

function writeThrough(path: string, text: string): void {
  const handle = openSync(path, 'w', 0o640);
  try {
    writeFileSync(handle, text);
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

function syncFolder(path: string): void {
  const handle = openSync(path, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

function putAside(file: string): string {
  const aside = `${file}.bad`;
  try {
    renameSync(file, aside);
    return `kept as ${aside}`;
  } catch (thrown) {
    return `it cannot be put aside either: ${messageOf(thrown)}`;
  }
}

/** What failed first is what people must read; that the remains cannot be removed is usually the same fault. */
function removeQuietly(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    return;
  }
}

function stateError(message: string, cause: unknown): GatewayError {
  return new GatewayError('ISTHMUS_ERR_STATE', message, { cause });
}
