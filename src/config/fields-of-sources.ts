import { leaf, Mistake } from './leaf.ts';

/** Kinds of values that only sources have. */

/** Numbers of /etc/iproute2/rt_protos, which linux/rtnetlink.h fixes. */
const ROUTING_PROTOCOLS: Readonly<Record<string, number>> = {
  boot: 3,
  static: 4,
  ra: 9,
  zebra: 11,
  bird: 12,
  dhcp: 16,
  keepalived: 18,
  babel: 42,
  openr: 99,
  bgp: 186,
  isis: 187,
  ospf: 188,
  rip: 189,
  eigrp: 192,
};

/** In memory the number. */
export function routingProtocol() {
  const names = Object.keys(ROUTING_PROTOCOLS);
  return leaf<number>({
    expected: `one of ${names.join(', ')}, or a whole number from 3 to 255`,
    json: { anyOf: [{ enum: names }, { type: 'integer', minimum: 3, maximum: 255 }] },
    read(raw) {
      const number =
        typeof raw === 'string' && Object.hasOwn(ROUTING_PROTOCOLS, raw) ? ROUTING_PROTOCOLS[raw] : raw;
      const fits = typeof number === 'number' && Number.isInteger(number) && number >= 3 && number <= 255;
      return fits ? number : new Mistake();
    },
    print: (value) => names.find((name) => ROUTING_PROTOCOLS[name] === value) ?? value,
  });
}

export function endpoint() {
  return leaf<string>({
    expected: 'an address such as https://10.0.0.5:2379',
    json: { type: 'string', pattern: '^https?://[^/]+$' },
    read(raw) {
      if (typeof raw !== 'string') return new Mistake();
      if (!URL.canParse(raw)) return new Mistake();
      const url = new URL(raw);
      if (url.protocol !== 'http:' && url.protocol !== 'https:') return new Mistake('http or https');
      if (url.username !== '' || url.password !== '') return new Mistake('use username and passwordFile');
      if (url.pathname !== '/' || url.search !== '' || url.hash !== '')
        return new Mistake('nothing may follow the port');
      return raw.replace(/\/$/, '');
    },
    print: (value) => value,
  });
}

const PREFIX_CHARS_MAX = 256;

export function keyPrefix() {
  return leaf<string>({
    expected: `a text that begins and ends with a slash, of ${PREFIX_CHARS_MAX} characters at most`,
    json: { type: 'string', pattern: '^/(.*/)?$' },
    read: (raw) =>
      typeof raw === 'string' && /^\/(?:[!-~]*\/)?$/.test(raw) && raw.length <= PREFIX_CHARS_MAX
        ? raw
        : new Mistake(),
    print: (value) => value,
  });
}

/** A name that somebody else made up: of a user, of a context. */
function foreignName<const T extends string>(what: string, word: T) {
  return leaf<string>({
    expected: `${what}, or ${word}`,
    json: { type: 'string', minLength: 1, maxLength: 253 },
    read: (raw) => (typeof raw === 'string' && raw !== '' && raw.length <= 253 ? raw : new Mistake()),
    print: (value) => value,
  });
}

export const contextOr = <const T extends string>(word: T) => foreignName('the name of a context', word);
export const userOr = <const T extends string>(word: T) => foreignName('the name of a user', word);
