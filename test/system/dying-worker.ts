import { workerData } from 'node:worker_threads';
import { TOTAL_CELLS } from '../../src/dataplane/counters.ts';
import type { WorkerSetup } from '../../src/dataplane/worker-setup.ts';

/** A packet worker that dies DEATHS times before it does its work, when it is engine 0. The tries are kept in a cell nobody uses. */
const DEATHS = 3;

const setup = workerData as WorkerSetup;
const counters = new Float64Array(setup.counters);
if (setup.engine === 0 && counters[TOTAL_CELLS - 1]! < DEATHS) {
  counters[TOTAL_CELLS - 1]! += 1;
  throw new Error('told to die');
}
await import('../../src/dataplane/worker.ts');
