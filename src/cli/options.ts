import { InvalidArgumentError, Option } from 'commander';
import { AdminClient, DEFAULT_ADMIN_ADDRESS } from '../admin/client.ts';
import type { Terminal } from './terminal.ts';

/** Options that several commands share. */

const DEFAULT_CONFIG_FILE = '/etc/isthmus/isthmus.yaml';

export interface ConfigOptions {
  readonly config: string;
  readonly json?: boolean;
}

export interface AdminOptions {
  readonly admin: string;
  readonly json?: boolean;
}

export const configOption = () =>
  new Option('-c, --config <file>', 'configuration file').default(DEFAULT_CONFIG_FILE);

export const jsonOption = () => new Option('--json', 'print JSON, with plain numbers');

export const adminOption = () =>
  new Option('--admin <address>', 'the running gateway: host:port or unix:/path')
    .env('ISTHMUS_ADMIN')
    .default(DEFAULT_ADMIN_ADDRESS);

export function clientOf(options: AdminOptions): AdminClient {
  return new AdminClient(options.admin);
}

export function printJson(terminal: Terminal, value: unknown): void {
  terminal.out(`${JSON.stringify(value, null, 2)}\n`);
}

/** A commander parser for whole numbers. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`Expected a whole number from ${min} to ${max}.`);
    }
    return value;
  };
}
