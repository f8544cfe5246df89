import { printable } from '../base/printable.ts';
import { type Style, styled, type Terminal } from './terminal.ts';

export interface Column<Row> {
  readonly title: string;
  cell(row: Row): string;
  readonly align?: 'left' | 'right';
  /** Cut first where the terminal is too narrow. */
  readonly isFlexible?: boolean;
  style?(row: Row): Style | undefined;
}

const GAP = '  ';
/** A column cut shorter than this says nothing any more; then the line may wrap. */
const FLEXIBLE_WIDTH_MIN = 12;

/** Aligned columns under a header; a header alone when there are no rows. Ends in a newline. */
export function formatTable<Row>(
  terminal: Terminal,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
): string {
  const cells = rows.map((row) => columns.map((column) => printable(column.cell(row))));
  const widths = columns.map(({ title }, i) =>
    cells.reduce((widest, row) => Math.max(widest, (row[i] ?? '').length), title.length),
  );
  shrink(terminal, columns, widths);
  const last = columns.length - 1;
  const pad = (text: string, i: number): string => {
    const width = widths[i] ?? 0;
    const cut = text.length > width ? `${text.slice(0, width - 1)}…` : text;
    if (columns[i]?.align === 'right') return cut.padStart(width);
    // The last column has no right edge: trailing blanks would show in whatever reads the pipe.
    return i === last ? cut : cut.padEnd(width);
  };
  const header = columns.map(({ title }, i) => styled(terminal, 'bold', pad(title, i))).join(GAP);
  const lines = cells.map((row, at) =>
    row
      .map((text, i) => {
        const style = columns[i]?.style?.(rows[at] as Row);
        return style === undefined ? pad(text, i) : styled(terminal, style, pad(text, i));
      })
      .join(GAP)
      .trimEnd(),
  );
  return `${[header, ...lines].join('\n')}\n`;
}

function shrink<Row>(terminal: Terminal, columns: readonly Column<Row>[], widths: number[]): void {
  let excess =
    widths.reduce((sum, width) => sum + width, 0) + GAP.length * (widths.length - 1) - terminal.columns;
  for (let i = columns.length - 1; i >= 0 && excess > 0; i--) {
    if (columns[i]?.isFlexible !== true) continue;
    const width = widths[i] ?? 0;
    const less = Math.min(excess, Math.max(0, width - FLEXIBLE_WIDTH_MIN));
    widths[i] = width - less;
    excess -= less;
  }
}

/** `name  value` lines with the values aligned. */
export function formatPairs(
  terminal: Terminal,
  pairs: readonly (readonly [name: string, value: string])[],
): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  const line = ([name, value]: readonly [string, string]) =>
    `${styled(terminal, 'dim', name.padEnd(width))}${GAP}${printable(value)}\n`;
  return pairs.map(line).join('');
}
