export interface StandardsRow {
  readonly id: string;
  readonly state: string;
  readonly shownBy: string;
  readonly tests: readonly { readonly file: string; readonly title: string }[];
}

/** The rows of all tables of docs/standards.md. */
export function standardsRows(text: string): StandardsRow[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('| row |') && !line.startsWith('| ---'))
    .map((line) => {
      const [id = '', , , , state = '', shownBy = ''] = line.slice(2, -2).split(' | ');
      const tests = shownBy.split('<br>').flatMap((shown) => {
        const [, file, title] = /^`(test\/[\w/.-]+\.test\.ts)`: "(.+)"$/.exec(shown) ?? [];
        return file === undefined || title === undefined ? [] : [{ file, title }];
      });
      return { id, state, shownBy, tests };
    });
}

/**
 * What the tests of a source file are called: the first argument of `test` and `check`, of a template the part before the first
 * placeholder, and the titles in tables of cases, which begin with the name of a row.
 */
export function titlesIn(source: string): string[] {
  const direct = source.matchAll(/(?<![\w.])(?:test|check)\(\s*(?:'([^']+)'|`([^`$]+))/g);
  const inTables = source.matchAll(/\[\s*'((?:ECN|ICMP) [^']+)'/g);
  return [...direct, ...inTables].map(([, quoted, template]) => quoted ?? template ?? '');
}
