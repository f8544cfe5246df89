import { Worker } from 'node:worker_threads';
import type { Cidr } from '../base/address.ts';
import { GatewayError } from '../base/errors.ts';
import type { Parsed } from '../config/document.ts';
import type { ClusterConfig } from '../config/schema.ts';

/**
 * A file of more than this is parsed in a thread of its own. The document tree of 100,000 CIDRs takes 100 MB and most of a second: in
 * the thread it ends with it, while on the main thread the memory would stay with the process and the admin API would wait. A smaller
 * file is parsed sooner than a thread starts.
 */
export const LARGE_FILE_BYTES = 512 * 1024;

/** A cluster as the thread hands it over: its CIDRs as two columns, which are moved and not copied. */
export interface ClusterColumns {
  readonly name: string;
  readonly gateways: ClusterConfig['gateways'];
  readonly addresses: Uint32Array<ArrayBuffer>;
  readonly prefixLengths: Uint8Array<ArrayBuffer>;
  /** Those of IPv6, which come after. */
  readonly others: readonly Cidr[];
}

export interface LargeFileTask {
  readonly text: string;
  readonly file: string;
}

/** As parseClusterFile. Rejects with ISTHMUS_ERR_WORKER when the thread dies, of too little memory say. */
export async function parseLargeClusterFile(
  text: string,
  file: string,
): Promise<Parsed<readonly ClusterConfig[]>> {
  const task: LargeFileTask = { text, file };
  const worker = new Worker(new URL('./large-file-thread.js', import.meta.url), { workerData: task });
  try {
    const parsed = await new Promise<Parsed<readonly ClusterColumns[]>>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', (cause) => reject(threadDied(file, cause.message, cause)));
      worker.once('exit', (code) => reject(threadDied(file, `exit code ${code}`)));
    });
    return parsed.problems === undefined ? { value: parsed.value.map(clusterOf) } : parsed;
  } finally {
    await worker.terminate();
  }
}

function clusterOf({ name, gateways, addresses, prefixLengths, others }: ClusterColumns): ClusterConfig {
  const cidrs = Array.from(addresses, (address, i): Cidr => ({ address, prefixLength: prefixLengths[i]! }));
  return { name, gateways, cidrs: others.length === 0 ? cidrs : [...cidrs, ...others] };
}

function threadDied(file: string, why: string, cause?: unknown): GatewayError {
  return new GatewayError('ISTHMUS_ERR_WORKER', `${file}: the thread that read it died: ${why}`, { cause });
}
