import { Command, CommanderError } from 'commander';
import { ERROR_CODES, GatewayError, messageOf } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { readVersion } from '../observe/version.ts';
import { benchCommand } from './bench.ts';
import { clustersCommand } from './clusters.ts';
import { configCommand } from './config.ts';
import { dnsCommand } from './dns.ts';
import { doctorCommand } from './doctor.ts';
import { grantCommand } from './grant.ts';
import { joinCommand } from './join.ts';
import { leaveCommand } from './leave.ts';
import { peersCommand } from './peers.ts';
import { reloadCommand } from './reload.ts';
import { routesCommand } from './routes.ts';
import { runCommand } from './run.ts';
import { statusCommand } from './status.ts';
import type { Terminal } from './terminal.ts';
import { traceCommand } from './trace.ts';
import { versionCommand } from './version.ts';

const EPILOGUE = `
Exit codes: 0 done, 1 failure, 2 wrong usage or configuration, 3 a privilege or kernel feature is missing.`;

export function buildProgram(terminal: Terminal): Command {
  const program = new Command('isthmus')
    .description('IPIP encapsulation gateway that joins clusters whose routers cannot be changed.')
    .version(readVersion(), '-V, --version', 'print the version')
    .addHelpText('after', EPILOGUE)
    .helpCommand(false);
  const commands = [
    runCommand(),
    configCommand(terminal),
    statusCommand(terminal),
    doctorCommand(terminal),
    routesCommand(terminal),
    peersCommand(terminal),
    clustersCommand(terminal),
    dnsCommand(terminal),
    traceCommand(terminal),
    benchCommand(terminal),
    reloadCommand(terminal),
    joinCommand(terminal),
    grantCommand(terminal),
    leaveCommand(terminal),
    versionCommand(terminal),
    helpCommand(program),
  ];
  for (const command of commands) program.addCommand(command);
  prepare(program, terminal);
  return program;
}

/** Commander's own knows one level only. */
function helpCommand(program: Command): Command {
  return new Command('help')
    .summary('show help for a command')
    .description('Shows help for a command.')
    .argument('[command...]', 'such as status, or config check')
    .action((path: string[]) => {
      let command = program;
      for (const name of path) {
        const next = command.commands.find((child) => child.name() === name);
        if (next === undefined)
          throw new GatewayError(
            'ISTHMUS_ERR_USAGE',
            `there is no command "${path.join(' ')}"; see isthmus help`,
          );
        command = next;
      }
      command.outputHelp();
    });
}

/** What commander does not hand down to commands that were built on their own. */
function prepare(command: Command, terminal: Terminal): void {
  command
    .exitOverride()
    .helpOption('-h, --help', 'show help')
    .configureHelp({ helpWidth: Number.isFinite(terminal.columns) ? terminal.columns : 100 })
    .configureOutput({
      writeOut: (text) => terminal.out(text),
      writeErr: (text) => terminal.error(text),
      // Printed once, by reportFailure.
      outputError: () => {},
      getOutHasColors: () => terminal.isColored,
    });
  for (const child of command.commands) prepare(child, terminal);
}

/** Runs one command line, given without node and script. Returns the exit code. */
export async function runCommandLine(args: readonly string[], terminal: Terminal): Promise<number> {
  try {
    await buildProgram(terminal).parseAsync(args, { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    return reportFailure(error, args, terminal);
  }
}

/** One line on stderr for each thing that is wrong; the exit code that belongs to it. */
function reportFailure(error: unknown, args: readonly string[], terminal: Terminal): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0;
    // Without a command commander has shown the help already, which is answer enough.
    if (error.code !== 'commander.help') terminal.error(`isthmus: ${usageMessage(error, args)}\n`);
    return ERROR_CODES.ISTHMUS_ERR_USAGE.exit;
  }
  if (error instanceof GatewayError) {
    // A problem of a file begins with file:line:column, where editors and people look for it.
    const prefix = error.code === 'ISTHMUS_ERR_CONFIG' && 'problems' in error ? '' : 'isthmus: ';
    terminal.error(`${prefix}${error.message}\n`);
    return error.exitCode;
  }
  const isDebugging = process.env.ISTHMUS_DEBUG === '1';
  const stack = isDebugging && error instanceof Error ? `\n${error.stack}` : '';
  terminal.error(`isthmus: ${messageOf(error)}${stack}\n`);
  return 1;
}

/** Commander's text on one line: "error: unknown option '--jsn'\n(Did you mean --json?)". */
function usageMessage(error: CommanderError, args: readonly string[]): string {
  return withHint(error.message, args)
    .replace(/^error: /, '')
    .replace(/\s*\n\s*/g, ' ')
    .trim();
}

/** `run FILE` is what comes to mind first. */
function withHint(message: string, args: readonly string[]): string {
  return /^error: too many arguments for '(?:run|check|print)'/.test(message)
    ? `${message} Name the file with -c: -c ${printable(args.at(-1) ?? 'FILE')}.`
    : message;
}
