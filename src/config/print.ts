import { stringify } from 'yaml';
import { z } from 'zod';
import { type Config, configSchema } from './schema.ts';

/** The configuration with every default, as YAML that loads back to an equal one. */
export function printConfig(config: Config): string {
  return stringify(z.encode(configSchema, config), { aliasDuplicateObjects: false, lineWidth: 0 });
}

/** The configuration as plain values, as they stand in the file. */
export function plainConfig(config: Config): unknown {
  return z.encode(configSchema, config);
}

/** JSON Schema (draft 2020-12) of the file, for editors. */
export function configJsonSchema(): object {
  return z.toJSONSchema(configSchema, {
    io: 'input',
    override({ jsonSchema }) {
      delete jsonSchema.expected;
    },
  });
}
