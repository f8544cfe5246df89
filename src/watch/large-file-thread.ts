import { parentPort, workerData } from 'node:worker_threads';
import { parseClusterFile } from '../config/load.ts';
import type { ClusterColumns, LargeFileTask } from './large-file.ts';

const { text, file } = workerData as LargeFileTask;
const parsed = parseClusterFile(text, file);
if (parsed.problems !== undefined) {
  parentPort?.postMessage(parsed);
} else {
  const value: ClusterColumns[] = parsed.value.map(({ name, gateways, cidrs }) => ({
    name,
    gateways,
    addresses: Uint32Array.from(cidrs, ({ address }) => address),
    prefixLengths: Uint8Array.from(cidrs, ({ prefixLength }) => prefixLength),
  }));
  const moved = value.flatMap(({ addresses, prefixLengths }) => [addresses.buffer, prefixLengths.buffer]);
  parentPort?.postMessage({ value }, moved);
}
