import type { Terminal } from '../../../src/cli/terminal.ts';

export interface FakeTerminal extends Terminal {
  readonly stdout: () => string;
  readonly stderr: () => string;
}

function terminal(shape: Pick<Terminal, 'isTty' | 'isColored' | 'columns'>): FakeTerminal {
  const out: string[] = [];
  const error: string[] = [];
  return {
    ...shape,
    isErrorTty: shape.isTty,
    errorColumns: shape.columns,
    out: (text) => void out.push(text),
    error: (text) => void error.push(text),
    stdout: () => out.join(''),
    stderr: () => error.join(''),
  };
}

/** What a pipe or a file is. */
export const piped = () => terminal({ isTty: false, isColored: false, columns: Number.POSITIVE_INFINITY });

/** A screen in front of a person; without colours unless asked for. */
export const screen = (columns = 200, isColored = false) => terminal({ isTty: true, isColored, columns });
