import { messageOf } from '../base/errors.ts';
import { measurePaths } from './local.ts';
import type { ProgressEvent } from './model.ts';
import type { MeasureOptions } from './plan.ts';
import type { FromSandbox, ToSandbox } from './sandboxed.ts';

/** The program that `runInSandbox` starts for measurePaths: takes its options over the IPC channel, and ends with it. */
const stopping = new AbortController();

function tell(message: FromSandbox): Promise<void> {
  return new Promise((resolve) => process.send!(message, () => resolve()));
}

async function measure(options: MeasureOptions): Promise<void> {
  const progress = (event: ProgressEvent): void => void tell({ progress: event });
  try {
    await tell({ result: await measurePaths(options, progress, stopping.signal) });
  } catch (error) {
    await tell({ error: messageOf(error) });
  }
  process.exit(0);
}

process.on('message', (message: ToSandbox) => {
  if (message.stop === true) stopping.abort();
  else void measure(message.options as MeasureOptions);
});
process.on('disconnect', () => process.exit(0));
