/**
 * TypeScript source split into code, strings and comments without a parser: TypeScript 7 has no classic compiler API, and the rules
 * here only need to know what is not inside a comment or a string.
 */
export interface SourceText {
  /** As long as the source, newlines kept; comments and the insides of strings, templates and regular expressions are blanks. */
  readonly code: string;
  readonly strings: readonly Span[];
  readonly comments: readonly Span[];
}

export interface Span {
  /** Offset of the first character, with the quote or comment mark. */
  readonly start: number;
  /** Offset past the last character. */
  readonly end: number;
  /** Without quotes or comment marks. */
  readonly text: string;
}

/** Words after which a slash begins a regular expression and not a division. */
const BEFORE_REGEXP = /(?:^|[=(,;:!&|?{}[+\-*%<>~^]|\b(?:return|typeof|case|in|of|do|else|void|delete))\s*$/;

/** Splits `source`. Never fails: an unterminated string or comment simply ends with the file. */
export function splitSource(source: string): SourceText {
  const scanner = new Scanner(source);
  scanner.run();
  return { code: scanner.code.join(''), strings: scanner.strings, comments: scanner.comments };
}

/** Line number (from 1) of an offset. */
export function lineOf(source: string, offset: number): number {
  let line = 1;
  for (let at = source.indexOf('\n'); at !== -1 && at < offset; at = source.indexOf('\n', at + 1)) line++;
  return line;
}

class Scanner {
  readonly code: string[];
  readonly strings: Span[] = [];
  readonly comments: Span[] = [];
  private readonly source: string;
  private at = 0;
  /** Brace depth at which each open template substitution `${` ends. */
  private readonly substitutions: number[] = [];
  private depth = 0;

  constructor(source: string) {
    this.source = source;
    this.code = source.split('');
  }

  run(): void {
    if (this.source.startsWith('#!')) this.comment(this.lineEnd(), 2, 0);
    while (this.at < this.source.length) this.step();
  }

  private step(): void {
    const char = this.source[this.at]!;
    const pair = this.source.slice(this.at, this.at + 2);
    if (pair === '//') this.comment(this.lineEnd(), 2, 0);
    else if (pair === '/*') this.comment(this.after('*/', this.at + 2), 2, 2);
    else if (char === "'" || char === '"') this.quoted(char);
    else if (char === '`') this.template();
    else if (char === '/' && this.regexpAllowed()) this.regexp();
    else if (char === '{') {
      this.depth++;
      this.at++;
    } else if (char === '}') this.closeBrace();
    else this.at++;
  }

  private closeBrace(): void {
    this.depth--;
    if (this.substitutions.at(-1) === this.depth) {
      this.substitutions.pop();
      this.template();
    } else this.at++;
  }

  private lineEnd(): number {
    const end = this.source.indexOf('\n', this.at);
    return end === -1 ? this.source.length : end;
  }

  private after(mark: string, from: number): number {
    const end = this.source.indexOf(mark, from);
    return end === -1 ? this.source.length : end + mark.length;
  }

  private blank(from: number, to: number): void {
    for (let i = from; i < to; i++) if (this.source[i] !== '\n') this.code[i] = ' ';
  }

  private comment(end: number, open: number, close: number): void {
    const text = this.source.slice(this.at + open, end - close);
    this.comments.push({ start: this.at, end, text });
    this.blank(this.at, end);
    this.at = end;
  }

  private quoted(quote: string): void {
    let end = this.at + 1;
    while (end < this.source.length && this.source[end] !== quote && this.source[end] !== '\n') {
      end += this.source[end] === '\\' ? 2 : 1;
    }
    this.string(Math.min(end, this.source.length));
  }

  /** One stretch of a template: from a backquote or the brace that ends a substitution, to the next backquote or `${`. */
  private template(): void {
    let end = this.at + 1;
    while (end < this.source.length && this.source[end] !== '`' && !this.source.startsWith('${', end)) {
      end += this.source[end] === '\\' ? 2 : 1;
    }
    const substitution = this.source.startsWith('${', end);
    this.string(Math.min(end, this.source.length));
    if (substitution) {
      this.substitutions.push(this.depth);
      this.depth++;
      this.at = end + 2;
    }
  }

  private string(end: number): void {
    this.strings.push({ start: this.at, end: end + 1, text: this.source.slice(this.at + 1, end) });
    this.blank(this.at + 1, end);
    this.at = end + 1;
  }

  private regexpAllowed(): boolean {
    return BEFORE_REGEXP.test(this.code.slice(Math.max(0, this.at - 40), this.at).join(''));
  }

  private regexp(): void {
    let end = this.at + 1;
    let inClass = false;
    while (end < this.source.length && this.source[end] !== '\n') {
      const char = this.source[end];
      if (char === '\\') end++;
      else if (char === '[') inClass = true;
      else if (char === ']') inClass = false;
      else if (char === '/' && !inClass) break;
      end++;
    }
    this.blank(this.at + 1, end);
    this.at = end + 1;
  }
}
