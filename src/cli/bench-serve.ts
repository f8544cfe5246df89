import { Command, InvalidArgumentError, Option } from 'commander';
import { parseListen } from '../config/listen.ts';
import { CONTROL_PORT } from '../measure/remote/protocol.ts';
import { readToken } from '../measure/remote/token.ts';
import { readVersion } from '../observe/version.ts';
import { PORT_MAX, PORT_MIN, tokenFileOption } from './bench-run.ts';
import type { Terminal } from './terminal.ts';

interface ServeOptions {
  readonly listen: { readonly host: string; readonly port: number };
  readonly tokenFile?: string;
  readonly once?: boolean;
}

const ANY_ADDRESS = '0.0.0.0';

export function benchServeCommand(terminal: Terminal): Command {
  return new Command('serve')
    .summary('the other end of isthmus bench run')
    .description(
      'Waits for isthmus bench run, one at a time, and measures with it: takes its traffic, and sends to nobody but the host that asks. Needs no privilege, and no running gateway here. Until Ctrl-C. Without --token-file whoever reaches the port can use up this host and its network.',
    )
    .addOption(
      new Option('--listen <address:port>', 'IPv4 address to listen on; test traffic uses the next port')
        .argParser(listenOf)
        .default({ host: ANY_ADDRESS, port: CONTROL_PORT }, `${ANY_ADDRESS}:${CONTROL_PORT}`),
    )
    .addOption(tokenFileOption())
    .option('--once', 'end after the first run')
    .action((options: ServeOptions) => serve(terminal, options));
}

async function serve(terminal: Terminal, { listen, tokenFile, once = false }: ServeOptions): Promise<void> {
  const { BenchServer } = await import('../measure/remote/server.ts');
  const token = tokenFile === undefined ? null : readToken(tokenFile);
  const log = (line: string): void => terminal.out(`${line}\n`);
  const server = await BenchServer.listen({ ...listen, token, once, program: readVersion(), log });
  const open = token === null ? '; no token: whoever reaches it may measure' : '';
  log(`listening on ${listen.host}:${server.port}, traffic on ${server.port + 1}${open}`);
  const stop = (): void => void server.close();
  process.once('SIGINT', stop).once('SIGTERM', stop);
  try {
    await server.ended;
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

function listenOf(text: string): ServeOptions['listen'] {
  const listen = parseListen(text);
  if (typeof listen === 'string') throw new InvalidArgumentError(`Expected 192.0.2.1:9462; ${listen}.`);
  if (listen.kind !== 'tcp' || !/^[\d.]+$/.test(listen.host)) {
    throw new InvalidArgumentError('Expected an IPv4 address and a port such as 192.0.2.1:9462.');
  }
  if (listen.port < PORT_MIN || listen.port > PORT_MAX) {
    throw new InvalidArgumentError(`Expected a port from ${PORT_MIN} to ${PORT_MAX}.`);
  }
  return listen;
}
