import {
  type Address,
  addressBits,
  type Cidr,
  type Cidr4,
  formatAddress,
  formatCidr,
  type IpAddress,
  isCidr4,
  networkOf,
  parseAddress,
  parseCidr,
  parseIpAddress,
} from '../base/address.ts';
import { type Address6, cidrHolds6, parseAddress6, parseCidr6 } from '../base/address6.ts';
import { type LeafDefinition, leaf, Mistake } from './leaf.ts';
import { LISTEN_EXPECTED, parseListen } from './listen.ts';

/** The kinds of values that the file is made of. */

const PATTERN4 = '\\d{1,3}(\\.\\d{1,3}){3}';
/** Loose, as the other is: what it lets through and is no address gets a better message from the reader. */
const PATTERN6 = '[0-9A-Fa-f.]{0,15}:[0-9A-Fa-f:.]{1,38}';

const CIDR_LEAF: LeafDefinition<Cidr> = {
  expected: 'a CIDR such as 10.1.0.0/16 or fd00:1::/48',
  json: { type: 'string', pattern: `^(${PATTERN4}/\\d{1,2}|${PATTERN6}/\\d{1,3})$` },
  read(raw) {
    if (typeof raw !== 'string') return new Mistake();
    try {
      return parseCidr(raw);
    } catch {
      return new Mistake(whyNoCidr(raw));
    }
  },
  print: formatCidr,
};

/** What only IPv4 is done for. */
const CIDR4_LEAF: LeafDefinition<Cidr4> = {
  expected: 'a CIDR such as 10.1.0.0/16',
  json: { type: 'string', pattern: `^${PATTERN4}/\\d{1,2}$` },
  read(raw) {
    const read = CIDR_LEAF.read(raw);
    if (read instanceof Mistake || isCidr4(read)) return read;
    return new Mistake('it is of IPv6');
  },
  print: formatCidr,
};

/** parseCidr's own message repeats the text; behind "got …" only the reason is wanted. */
function whyNoCidr(text: string): string {
  const [before = '', digits = ''] = text.split('/');
  if (!text.includes('/')) return 'a prefix length is missing';
  const family = before.includes(':') ? 'IPv6' : 'IPv4';
  let address: IpAddress;
  try {
    address = parseIpAddress(before);
  } catch {
    return `"${before}" is not an ${family} address`;
  }
  const bits = addressBits(address);
  const length = Number(digits);
  if (!/^\d{1,3}$/.test(digits) || length > bits)
    return `"${digits}" is not a prefix length from 0 to ${bits}`;
  return `host bits set; did you mean ${formatCidr(networkOf(address, length))}?`;
}

/** As CIDR_LEAF; a plain address is its /32, or /128. */
const CIDR_OR_ADDRESS_LEAF: LeafDefinition<Cidr> = {
  ...CIDR_LEAF,
  expected: 'a CIDR such as 172.31.0.0/24 or fd00:1::/48, or an address',
  json: { type: 'string', pattern: `^(${PATTERN4}(/\\d{1,2})?|${PATTERN6}(/\\d{1,3})?)$` },
  read: (raw) => CIDR_LEAF.read(withLength(raw)),
};

function withLength(raw: unknown): unknown {
  if (typeof raw !== 'string' || raw.includes('/')) return raw;
  return raw.includes(':') ? `${raw}/128` : `${raw}/32`;
}

/** An IPv6 address that a machine can have and others can send to from elsewhere: RFC 4291 §2.4. */
function readUnicast6(raw: string): Address6 | Mistake {
  let address: Address6;
  try {
    address = parseAddress6(raw);
  } catch {
    return new Mistake(raw.includes('/') ? 'an address has no prefix length' : '');
  }
  const unusable = UNUSABLE6.find(({ cidr }) => cidrHolds6(cidr, address));
  return unusable === undefined ? address : new Mistake(`${formatCidr(unusable.cidr)} is ${unusable.what}`);
}

const UNUSABLE6 = [
  { cidr: parseCidr6('::/8'), what: 'no address of a machine' },
  { cidr: parseCidr6('fe80::/10'), what: 'link-local, which a device has to be named with' },
  { cidr: parseCidr6('ff00::/8'), what: 'multicast' },
];

function readEither(raw: unknown): IpAddress | Mistake {
  return typeof raw === 'string' && raw.includes(':') ? readUnicast6(raw) : readUnicast(raw);
}

function readAddress(raw: unknown): Address | Mistake {
  if (typeof raw !== 'string') return new Mistake();
  try {
    return parseAddress(raw);
  } catch {
    return new Mistake(raw.includes('/') ? 'an address has no prefix length' : '');
  }
}

/** An address that a machine can have and others can send to. */
function readUnicast(raw: unknown): Address | Mistake {
  const address = readAddress(raw);
  if (address instanceof Mistake) return address;
  const top = address >>> 24;
  if (top === 0) return new Mistake('0.0.0.0/8 is no address of a machine');
  if (top === 127) return new Mistake('127.0.0.0/8 never leaves a machine');
  if (top >= 240) return new Mistake('240.0.0.0/4 is reserved');
  if (top >= 224) return new Mistake('224.0.0.0/4 is multicast');
  return address;
}

const ADDRESS_JSON = { type: 'string', format: 'ipv4' };

export const cidr = () => leaf(CIDR_LEAF);
export const cidr4 = () => leaf(CIDR4_LEAF);
export const cidrOrAddress = () => leaf(CIDR_OR_ADDRESS_LEAF);
export const address = () =>
  leaf<Address>({
    expected: 'an IPv4 address such as 172.31.0.2',
    json: ADDRESS_JSON,
    read: readUnicast,
    print: formatAddress,
  });

const IP_ADDRESS_JSON = { anyOf: [ADDRESS_JSON, { type: 'string', format: 'ipv6' }] };

/** Of either family: what an underlay has. */
export const ipAddress = () =>
  leaf<IpAddress>({
    expected: 'an address such as 172.31.0.2 or 2001:db8::2',
    json: IP_ADDRESS_JSON,
    read: readEither,
    print: formatAddress,
  });

export function ipAddressOr<const T extends string>(word: T) {
  return leaf<IpAddress | T>({
    expected: `an address such as 172.31.0.2 or 2001:db8::2, or ${word}`,
    json: { anyOf: [{ const: word }, ...IP_ADDRESS_JSON.anyOf] },
    read: (raw) => (raw === word ? word : readEither(raw)),
    print: (value) => (typeof value === 'string' ? value : formatAddress(value)),
  });
}

/** An IPv4 address, or one word that stands for `meaning`. */
export function addressOr<T extends string | null>(word: string, meaning: T) {
  return leaf<Address | T>({
    expected: `an IPv4 address such as 172.31.0.2, or ${word}`,
    json: { anyOf: [{ const: word }, ADDRESS_JSON] },
    read: (raw) => (raw === word ? meaning : readUnicast(raw)),
    print: (value) => (typeof value === 'number' ? formatAddress(value) : word),
  });
}

export function integer(min: number, max: number, remark = '') {
  return leaf<number>({
    expected: `a whole number from ${min} to ${max}${remark === '' ? '' : ` (${remark})`}`,
    json: { type: 'integer', minimum: min, maximum: max },
    read: (raw) => readInteger(raw, min, max),
    print: (value) => value,
  });
}

export function integerOr<const T extends string>(word: T, min: number, max: number) {
  return leaf<number | T>({
    expected: `${word}, or a whole number from ${min} to ${max}`,
    json: { anyOf: [{ const: word }, { type: 'integer', minimum: min, maximum: max }] },
    read: (raw) => (raw === word ? word : readInteger(raw, min, max)),
    print: (value) => value,
  });
}

function readInteger(raw: unknown, min: number, max: number): number | Mistake {
  if (typeof raw !== 'number') {
    return new Mistake(typeof raw === 'string' && /^\d+$/.test(raw) ? 'remove the quotes' : '');
  }
  if (!Number.isInteger(raw)) return new Mistake();
  return raw >= min && raw <= max ? raw : new Mistake();
}

export function flag() {
  return leaf<boolean>({
    expected: 'true or false',
    json: { type: 'boolean' },
    read: (raw) => (typeof raw === 'boolean' ? raw : new Mistake()),
    print: (value) => value,
  });
}

/** One of a few words. `later` names words that are known but not accepted, with the reason. */
export function choice<const T extends string>(
  words: readonly T[],
  later: Readonly<Record<string, string>> = {},
) {
  const expected =
    words.length === 1 ? `${words[0]}` : `${words.slice(0, -1).join(', ')} or ${words[words.length - 1]}`;
  return leaf<T>({
    expected,
    json: { enum: [...words] },
    read(raw) {
      if (words.includes(raw as T)) return raw as T;
      return new Mistake(typeof raw === 'string' ? (later[raw] ?? '') : '');
    },
    print: (value) => value,
  });
}

const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** The name of a cluster: a DNS label (RFC 1123 §2.1), as Kubernetes asks of the names it will be compared with. */
export function label() {
  return leaf<string>({
    expected: 'a name of lower-case letters, digits and inner hyphens, 63 characters at most',
    json: { type: 'string', pattern: NAME.source },
    read(raw) {
      if (typeof raw === 'number') return new Mistake('a number; put it in quotes');
      return typeof raw === 'string' && NAME.test(raw) ? raw : new Mistake();
    },
    print: (value) => value,
  });
}

/** RFC 1123 §2.1, and what Kubernetes allows as the name of a node. */
const HOST_NAME = /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/;

export function hostNameOr<const T extends string>(word: T) {
  return leaf<string>({
    expected: `${word}, or a name of letters, digits, dots and inner hyphens, 253 characters at most`,
    json: { type: 'string', pattern: HOST_NAME.source },
    read: (raw) => (typeof raw === 'string' && HOST_NAME.test(raw) ? raw : new Mistake()),
    print: (value) => value,
  });
}

/** One requirement of a label selector; the prefix of a key and the rest are checked where the selector is used. */
const REQUIREMENT = /^!?[A-Za-z0-9][\w./-]{0,316}(?:(?:=|==|!=)[\w.-]{0,63})?$/;
const SELECTOR_CHARS_MAX = 1000;

/** `all`, `objects`, or a label selector as kubectl takes it with -l. */
export function gatewayChoice() {
  return leaf<string>({
    expected: 'all, objects, or labels such as role=edge,!spot',
    json: { type: 'string', minLength: 1 },
    read(raw) {
      if (typeof raw !== 'string' || raw.length > SELECTOR_CHARS_MAX) return new Mistake();
      if (raw === 'all' || raw === 'objects') return raw;
      const wrong = raw.split(',').find((part) => !REQUIREMENT.test(part.trim()));
      return wrong === undefined ? raw : new Mistake(`"${wrong}" is no requirement on a label`);
    },
    print: (value) => value,
  });
}

/** What dev_valid_name of the kernel (net/core/dev.c) accepts, without `%`, which makes it pick a name by itself. */
const DEVICE = /^(?!\.{1,2}$)[!-$&-.0-9;-~]{1,15}$/;

export function device() {
  return leaf<string>({
    expected: 'a device name of 1 to 15 characters without space, slash, colon or percent sign',
    json: { type: 'string', pattern: DEVICE.source },
    read: (raw) => (typeof raw === 'string' && DEVICE.test(raw) ? raw : new Mistake()),
    print: (value) => value,
  });
}

const PATH_BYTES_MAX = 4095;

export function path() {
  return leaf<string>({
    expected: 'a path of a file or a folder',
    json: { type: 'string', minLength: 1 },
    read: readPath,
    print: (value) => value,
  });
}

/** A path, or one word that is none. */
export function pathOr<const T extends string>(word: T) {
  return leaf<string>({
    expected: `a path of a file, or ${word}`,
    json: { type: 'string', minLength: 1 },
    read: readPath,
    print: (value) => value,
  });
}

export function absolutePathOr<const T extends string>(word: T) {
  return leaf<string>({
    expected: `an absolute path, or ${word}`,
    json: { anyOf: [{ const: word }, { type: 'string', pattern: '^/' }] },
    read(raw) {
      if (raw === word) return word;
      const text = readPath(raw);
      return text instanceof Mistake || text.startsWith('/') ? text : new Mistake('the path is relative');
    },
    print: (value) => value,
  });
}

function readPath(raw: unknown): string | Mistake {
  if (typeof raw !== 'string' || raw === '') return new Mistake();
  if (raw.includes('\0')) return new Mistake('it holds a zero byte');
  return Buffer.byteLength(raw) <= PATH_BYTES_MAX
    ? raw
    : new Mistake(`paths have ${PATH_BYTES_MAX} bytes at most`);
}

export function listenOr<const T extends string>(word: T) {
  return leaf<string>({
    expected: `${LISTEN_EXPECTED}, or ${word}`,
    json: { anyOf: [{ const: word }, { type: 'string', pattern: '^unix:/|:\\d{1,5}$' }] },
    read(raw) {
      if (typeof raw !== 'string') return new Mistake();
      const parsed = raw === word ? undefined : parseListen(raw);
      return typeof parsed === 'string' ? new Mistake(parsed) : raw;
    },
    print: (value) => value,
  });
}
