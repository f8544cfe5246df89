import type { Clock } from '../base/clock.ts';
import { printable } from '../base/printable.ts';
import type { ProgressEvent } from '../measure/model.ts';
import type { Terminal } from './terminal.ts';

/** Before this much is done the pace says little: opening a path and its first step are slower than the rest. */
const ESTIMATE_AFTER_MS = 10_000;
const REDRAW_MS = 1000;
const ERASE = '\r\u001b[K';

/**
 * How far a measurement is, on stderr, so that stdout holds the result alone. On a terminal one line that is drawn over itself; elsewhere
 * a line for what is opened and for each round.
 */
export class BenchProgress {
  readonly #terminal: Terminal;
  readonly #clock: Clock;
  #event: ProgressEvent | undefined;
  /** What was found last: the step that runs has nothing to show yet. */
  #found = '';
  #firstMs: number | undefined;
  #cancelRedraw = (): void => {};
  #isDrawn = false;

  constructor(terminal: Terminal, clock: Clock) {
    this.#terminal = terminal;
    this.#clock = clock;
  }

  readonly tell = (event: ProgressEvent): void => {
    const before = this.#event;
    this.#event = event;
    if (event.text !== '') this.#found = `${event.path}, ${event.what}: ${event.text}`;
    if (event.total > 0) this.#firstMs ??= this.#clock.nowMs();
    if (this.#terminal.isErrorTty) this.#draw();
    else if (isNewLine(before, event)) this.#terminal.error(`${printable(this.#plainLine(event))}\n`);
  };

  /** Erases the line. What is told after it draws a new one. */
  end(): void {
    this.#cancelRedraw();
    if (this.#isDrawn) this.#terminal.error(ERASE);
    this.#isDrawn = false;
  }

  /** A message that stays, above the line. */
  say(text: string): void {
    this.end();
    this.#terminal.error(`${text}\n`);
    if (this.#terminal.isErrorTty && this.#event !== undefined) this.#draw();
  }

  #draw(): void {
    this.#cancelRedraw();
    const { errorColumns } = this.#terminal;
    const text = printable(this.#line());
    // A line as wide as the screen would wrap on some terminals, and then it could not be erased.
    const room = Math.max(1, errorColumns - 1);
    this.#terminal.error(`${ERASE}${text.length > room ? `${text.slice(0, room - 1)}…` : text}`);
    this.#isDrawn = true;
    const timer = this.#clock.after(REDRAW_MS, () => this.#draw());
    this.#cancelRedraw = () => timer.cancel();
  }

  #line(): string {
    const event = this.#event;
    if (event === undefined) return '';
    if (event.total === 0) return `${event.what} ${event.path}`;
    const { round, rounds, done, total, path, what } = event;
    const share = `${Math.floor((100 * done) / total)} %`;
    const parts = [`round ${round}/${rounds}`, share, this.#remaining(event), `${path}, ${what}`];
    if (event.text !== '') parts[3] = this.#found;
    else if (this.#found !== '') parts.push(`(${this.#found})`);
    return parts.filter((part) => part !== '').join('  ');
  }

  #plainLine(event: ProgressEvent): string {
    if (event.total === 0) return `${event.what} ${event.path}`;
    const { round, rounds, done, total } = event;
    return [`round ${round}/${rounds}`, `${done} of ${total} measurements done`, this.#remaining(event)]
      .filter((part) => part !== '')
      .join(', ');
  }

  /** At the pace until now; empty while that is not known. */
  #remaining({ done, total }: ProgressEvent): string {
    const elapsedMs = this.#clock.nowMs() - (this.#firstMs ?? this.#clock.nowMs());
    if (done === 0 || elapsedMs < ESTIMATE_AFTER_MS) return '';
    return `about ${roughly(((elapsedMs / done) * (total - done)) / 1000)} left`;
  }
}

function isNewLine(before: ProgressEvent | undefined, event: ProgressEvent): boolean {
  if (event.total === 0) return before?.path !== event.path;
  return before === undefined || before.total === 0 || before.round !== event.round;
}

/** No more exact than a guess is: minutes from two minutes on. */
function roughly(seconds: number): string {
  return seconds >= 120 ? `${Math.round(seconds / 60)} min` : `${Math.max(1, Math.round(seconds))} s`;
}
