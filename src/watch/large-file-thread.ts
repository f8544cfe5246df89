import { parentPort, workerData } from 'node:worker_threads';
import { isCidr4 } from '../base/address.ts';
import { parseClusterFile } from '../config/load.ts';
import type { ClusterColumns, LargeFileTask } from './large-file.ts';

const { text, file } = workerData as LargeFileTask;
const parsed = parseClusterFile(text, file);
if (parsed.problems !== undefined) {
  parentPort?.postMessage(parsed);
} else {
  const value: ClusterColumns[] = parsed.value.map(({ name, gateways, cidrs }) => {
    const first = cidrs.filter(isCidr4);
    return {
      name,
      gateways,
      addresses: Uint32Array.from(first, ({ address }) => address),
      prefixLengths: Uint8Array.from(first, ({ prefixLength }) => prefixLength),
      others: cidrs.filter((cidr) => !isCidr4(cidr)),
    };
  });
  const moved = value.flatMap(({ addresses, prefixLengths }) => [addresses.buffer, prefixLengths.buffer]);
  parentPort?.postMessage({ value }, moved);
}
