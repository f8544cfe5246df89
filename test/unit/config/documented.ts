import { configSchema } from '../../../src/config/schema.ts';
import { walkSchema } from '../../../src/config/schema-walk.ts';

/** The rows that the table of docs/configuration.md must have, made from the schema. */
export function configurationRows(): string[] {
  const rows: string[] = [];
  for (const field of walkSchema(configSchema)) {
    // A mapping has no value of its own, and what the elements of a list are stands at the list or at their fields.
    if (field.kind === 'mapping') continue;
    const expected = field.kind === 'list' ? 'a list' : field.expected;
    const value = field.path.endsWith('[]') ? '' : defaultText(field.default);
    const meaning = field.description === '' ? 'one of them' : field.description;
    rows.push(`| \`${field.path}\` | ${expected} | ${value} | ${meaning} |`);
  }
  return rows;
}

function defaultText(value: unknown): string {
  if (value === undefined) return '';
  return `\`${Array.isArray(value) ? JSON.stringify(value) : String(value)}\``;
}
