/** One broken rule, where it is broken and how. */
export interface Problem {
  /** Path from the repository's root. */
  readonly file: string;
  readonly line: number;
  readonly rule: string;
  readonly detail: string;
}
