import type { Terminal } from './terminal.ts';

const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const DECIMAL = ['', 'k', 'M', 'G', 'T', 'P'];

/** Three digits and a unit for people, the plain number for programs. */
export function bytes(terminal: Terminal, count: number): string {
  return terminal.isTty ? scaled(count, 1024, BINARY, ' ') : String(count);
}

export function count(terminal: Terminal, number: number): string {
  return terminal.isTty ? scaled(number, 1000, DECIMAL, '') : String(number);
}

function scaled(number: number, base: number, units: readonly string[], gap: string): string {
  let unit = 0;
  let rest = number;
  // 999.5 would print as 1000 of the smaller unit.
  while (rest >= base - 0.5 && unit < units.length - 1) {
    rest /= base;
    unit++;
  }
  const digits = unit === 0 || rest >= 99.95 ? String(Math.round(rest)) : rest.toFixed(1);
  return `${digits}${gap}${units[unit]}`;
}

/** `3d 4h`, `12m 5s`: the two largest units that count; seconds for programs. */
export function duration(terminal: Terminal, seconds: number): string {
  const whole = Math.floor(seconds);
  if (!terminal.isTty) return String(whole);
  const parts = [
    [Math.floor(whole / 86_400), 'd'],
    [Math.floor(whole / 3600) % 24, 'h'],
    [Math.floor(whole / 60) % 60, 'm'],
    [whole % 60, 's'],
  ] as const;
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first < 0) return '0s';
  return parts
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount}${unit}`)
    .join(' ');
}

/** An ISO time; for people how long ago it was. */
export function ago(terminal: Terminal, time: string, nowMs: number): string {
  if (!terminal.isTty) return time;
  return `${duration(terminal, Math.max(0, (nowMs - Date.parse(time)) / 1000))} ago`;
}

/** `0.25ms`, `80ms`. */
export function milliseconds(value: number): string {
  return value < 10 ? `${value.toFixed(2)}ms` : `${Math.round(value)}ms`;
}

export function percent(share: number): string {
  return `${(share * 100).toFixed(1)}%`;
}

/** `1 route`, `2 routes`; the number may already be text for people. */
export function plural(number: number | string, thing: string, things = `${thing}s`): string {
  return `${number} ${String(number) === '1' ? thing : things}`;
}
