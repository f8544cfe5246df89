import { once } from 'node:events';
import { Command } from 'commander';
import { type ConfigOptions, configOption } from './options.ts';

export function runCommand(): Command {
  return new Command('run')
    .summary('run the gateway in the foreground')
    .description(
      'Runs the gateway in the foreground until SIGTERM or SIGINT; SIGHUP reads the configuration again. Logs JSON lines to stdout.',
    )
    .addOption(configOption())
    .action(({ config }: ConfigOptions) => runGateway(config));
}

/** Resolves when the gateway was told to stop; rejects with a GatewayError when it cannot start or cannot go on. */
async function runGateway(configFile: string): Promise<void> {
  // Loaded only here: the other commands start faster without the native addon and the workers' code.
  const { Gateway } = await import('../gateway.ts');
  const gateway = new Gateway(configFile);
  const stopping = new AbortController();
  const stop = () => stopping.abort();
  const stopped = once(stopping.signal, 'abort');
  const onHangup = () => void gateway.reload();
  process.on('SIGHUP', onHangup);
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  try {
    await gateway.start(stopping.signal);
    await Promise.race([stopped, gateway.failed]);
  } finally {
    await gateway.stop();
    // Only now: without a listener the signal would end the process in the middle of it.
    process.off('SIGHUP', onHangup);
  }
}
