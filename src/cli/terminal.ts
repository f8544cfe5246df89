import { styleText } from 'node:util';

/** Where a command prints, and how: the only way from a command to the screen. */
export interface Terminal {
  /** For people: human units, and lists cut to the width. False when piped. */
  readonly isTty: boolean;
  readonly isColored: boolean;
  /** Characters in a line. Infinity when piped: what a program reads is never cut. */
  readonly columns: number;
  /** Of stderr, where progress is shown while stdout may be a pipe. */
  readonly isErrorTty: boolean;
  readonly errorColumns: number;
  out(text: string): void;
  error(text: string): void;
}

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow';

export function styled(terminal: Terminal, style: Style, text: string): string {
  if (!terminal.isColored || text === '') return text;
  // The terminal has decided on colours already; styleText would ask the process's own stdout again.
  return styleText(style, text, { validateStream: false });
}

/** The terminal of this process. */
export function processTerminal(): Terminal {
  const { stdout, stderr } = process;
  // `isthmus routes | head` closes the pipe early, which is no failure of ours.
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(0);
  });
  const isTty = stdout.isTTY === true;
  return {
    isTty,
    // hasColors knows NO_COLOR, FORCE_COLOR and TERM=dumb.
    isColored: isTty && stdout.hasColors(),
    columns: isTty ? stdout.columns : Number.POSITIVE_INFINITY,
    isErrorTty: stderr.isTTY === true,
    // Asked again each time: a long run may see its window resized.
    get errorColumns(): number {
      return stderr.isTTY === true ? stderr.columns : Number.POSITIVE_INFINITY;
    },
    out: (text) => void stdout.write(text),
    error: (text) => void stderr.write(text),
  };
}
