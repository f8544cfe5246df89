import { GatewayError } from '../base/errors.ts';

/**
 * One thing that is wrong in a file. Line and column count from 1, and are 0 where the file as such is meant; `field` is a path such as
 * `clusters[0].cidrs[1]`, empty for the whole.
 */
export interface ConfigProblem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly field: string;
  readonly message: string;
}

/** `east.yaml:4:12: cluster.cidrs[1]: expected a CIDR such as 10.1.0.0/16, got 7` */
export function formatProblem(problem: ConfigProblem): string {
  const { file, line, column, field, message } = problem;
  const place = line === 0 ? file : `${file}:${line}:${column}`;
  return `${place}: ${field === '' ? '' : `${field}: `}${message}`;
}

/** Everything that is wrong with a file, at once: a person fixes ten mistakes in one go, not in ten. The message has one line for each. */
export class ConfigError extends GatewayError {
  override readonly name = 'ConfigError';
  readonly problems: readonly ConfigProblem[];
  constructor(problems: readonly ConfigProblem[]) {
    super('ISTHMUS_ERR_CONFIG', problems.map(formatProblem).join('\n'));
    this.problems = problems;
  }
}
