import { styleText } from 'node:util';

/** A cell of a table on a terminal. */
export interface Cell {
  readonly text: string;
  readonly style?: 'bold' | 'dim';
}

export interface GridColumn {
  readonly title: string;
  readonly cells: readonly Cell[];
}

export interface Screen {
  /** Characters in a line; Infinity where lines are never broken. */
  readonly columns: number;
  readonly colour: boolean;
}

const GAP = '  ';

/**
 * A table whose blocks (columns that belong together) go on below where the screen is too narrow, each part with the labels again.
 * Ends in a newline.
 */
export function formatGrid(
  screen: Screen,
  labels: GridColumn,
  blocks: readonly (readonly GridColumn[])[],
): string {
  const free = screen.columns - widthOf(labels);
  return parts(blocks, free)
    .map((part) => rows(screen, labels, part.flat()))
    .join('\n');
}

/** As few parts as the width asks for, and then parts of about equal width: a last one with a single column would look like an accident. */
function parts(blocks: readonly (readonly GridColumn[])[], free: number): (readonly GridColumn[])[][] {
  const greedy = filled(blocks, free);
  const even = Math.ceil(blocks.length / greedy.length);
  const balanced: (readonly GridColumn[])[][] = [];
  for (let i = 0; i < blocks.length; i += even) balanced.push(blocks.slice(i, i + even));
  return balanced.every((part) => widthOfPart(part) <= free) ? balanced : greedy;
}

function filled(blocks: readonly (readonly GridColumn[])[], free: number): (readonly GridColumn[])[][] {
  const found: (readonly GridColumn[])[][] = [[]];
  for (const block of blocks) {
    const last = found.at(-1) ?? [];
    if (last.length > 0 && widthOfPart([...last, block]) > free) found.push([block]);
    else last.push(block);
  }
  return found;
}

function widthOfPart(part: readonly (readonly GridColumn[])[]): number {
  return part.flat().reduce((sum, column) => sum + GAP.length + widthOf(column), 0);
}

function widthOf({ title, cells }: GridColumn): number {
  return cells.reduce((widest, { text }) => Math.max(widest, text.length), title.length);
}

function rows(screen: Screen, labels: GridColumn, columns: readonly GridColumn[]): string {
  const all = [labels, ...columns];
  const widths = all.map(widthOf);
  const line = (cell: (column: GridColumn) => Cell): string => {
    const padded = all.map((column, at) => {
      const { text, style } = cell(column);
      const width = widths[at] ?? 0;
      return paint(screen, at === 0 ? text.padEnd(width) : text.padStart(width), style);
    });
    return padded.join(GAP).trimEnd();
  };
  const body = labels.cells.map((_, row) => line(({ cells }) => cells[row] ?? { text: '' }));
  return `${[line(({ title }) => ({ text: title, style: 'bold' })), ...body].join('\n')}\n`;
}

export function paint({ colour }: Screen, text: string, style: Cell['style']): string {
  if (!colour || style === undefined || text.trim() === '') return text;
  // Whether there are colours has been decided by the caller; styleText would ask this process's stdout again.
  return styleText(style, text, { validateStream: false });
}

/** Breaks prose between words; what follows the first line is indented. A word longer than a line stays whole. */
export function wrapText(text: string, columns: number, indent = ''): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line === '') line = word;
    else if (line.length + 1 + word.length <= columns) line += ` ${word}`;
    else {
      lines.push(line);
      line = indent + word;
    }
  }
  return [...lines, line].join('\n');
}
