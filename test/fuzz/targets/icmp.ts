import assert from 'node:assert/strict';
import type { Prng } from '../../../src/base/prng.ts';
import { IcmpFeed } from '../../../src/health/icmp-feed.ts';
import { IcmpRelay } from '../../../src/health/icmp-relay.ts';
import { type PathMtuChange, PathMtuTable } from '../../../src/health/path-mtu.ts';
import { PROTOCOL } from '../../../src/packet/ipv4.ts';
import { isNoHost } from '../../sim/oracle/inner-packet.ts';
import { LearnedPaths } from '../../sim/oracle/path-mtu.ts';
import {
  buildIpv4,
  checksumOf,
  get16,
  get32,
  headerLength,
  hex,
  onesSum,
  put16,
  put32,
  sameBytes,
} from '../../sim/oracle/wire.ts';
import { HandClock, NORTH, OURS, POD, packet, STRANGER, WEST_1, WEST_2 } from '../../unit/dataplane/rig.ts';
import { fitted, packetList, readPacketList, resealed } from '../packet-list.ts';
import type { Target } from '../target.ts';
import { ADDRESSES } from '../world.ts';

const PEERS = [WEST_1, WEST_2, NORTH];
const ERRORS = [3, 4, 5, 11, 12];
const PATH_MTU_BYTES_MIN = 596;
const MESSAGE_BYTES_MAX = 556;
/** What a packet that is remembered began with: recalled where a router quotes no more than 8 bytes of it. */
const REMEMBERED = packet().subarray(0, 28);

interface Relayed {
  readonly destination: number;
  readonly message: Uint8Array;
}

/** One input's feed, and what it said. */
class Scene {
  readonly pathMtu = new PathMtuTable();
  readonly paths = new LearnedPaths();
  readonly relayed: Relayed[] = [];
  readonly changes: PathMtuChange[] = [];
  readonly errors: number[] = [];
  readonly feed: IcmpFeed;

  constructor() {
    const clock = new HandClock();
    const relay = new IcmpRelay(
      {
        isLocal: (address) => isLocal(Number(address)),
        recall: (_gateway, _id, bytes, at, out) => {
          if (!sameBytes(bytes.subarray(at, at + 8), REMEMBERED.subarray(0, 8))) return false;
          out.set(REMEMBERED);
          return true;
        },
        send: (destination, message) => this.relayed.push({ destination, message: message.slice() }),
      },
      0,
    );
    this.feed = new IcmpFeed({
      ...{
        pathMtu: this.pathMtu,
        clock,
        relay,
        source: () => OURS,
        isPeer: (address) => PEERS.includes(Number(address)),
        udpPortOf: () => 0,
      },
      distrustsReports: () => false,
      onPathMtu: (change) => this.changes.push(change),
      onError: (peer) => this.errors.push(Number(peer)),
    });
  }
}

/** ICMP from the underlay, which anybody may have sent: what it may teach us, and what it may make us say. */
export function icmpTarget(): Target {
  return {
    name: 'icmp',
    bytesMax: 2000,
    run: (input) => {
      const scene = new Scene();
      return readPacketList(input).packets.flatMap(({ bytes }) => checkOne(scene, bytes));
    },
    repair,
    seeds: () =>
      ERRORS.flatMap((type) =>
        [0, 1, 2, 3, 4, 13].flatMap((code) => [
          packetList(0, [{ flags: 0, bytes: errorAbout(type, code, 556) }]),
          packetList(0, [{ flags: 0, bytes: errorAbout(type, code, 28) }]),
        ]),
      ),
  };
}

function errorAbout(type: number, code: number, quoteBytes: number): Uint8Array {
  const about = buildIpv4({
    protocol: PROTOCOL.IPIP,
    source: OURS,
    destination: WEST_1,
    payload: packet({}, 1480),
  });
  const message = new Uint8Array(8 + quoteBytes);
  message.set([type, code]);
  put16(message, 6, 1400);
  message.set(about.subarray(0, quoteBytes), 8);
  put16(message, 2, checksumOf(message));
  return buildIpv4({ protocol: PROTOCOL.ICMP, source: STRANGER, destination: OURS, payload: message });
}

function checkOne(scene: Scene, bytes: Uint8Array): number[] {
  const { feed, paths, relayed, changes } = scene;
  const [accepted, ignored, sent, told] = [feed.accepted, feed.ignored, relayed.length, changes.length];
  const before = bytes.slice();
  feed.receive(bytes);
  assert.ok(sameBytes(bytes, before), 'what was received is not written to');

  const quote = quoteOf(bytes);
  const isOurs =
    quote !== undefined &&
    (quote[9] === 4 || quote[9] === 41) &&
    get32(quote, 12) === OURS &&
    PEERS.includes(get32(quote, 16));
  assert.equal(feed.accepted - accepted, isOurs ? 1 : 0, 'accepted or not');
  assert.equal(feed.ignored - ignored, quote !== undefined && !isOurs ? 1 : 0, 'ignored or not');
  if (isOurs) paths.receive(bytes, OURS, (address) => PEERS.includes(Number(address)), 0);
  for (const peer of PEERS) {
    assert.equal(scene.pathMtu.known(peer), paths.bytesOf(peer), 'path MTU');
    assert.ok(paths.bytesOf(peer) === 0 || paths.bytesOf(peer) >= PATH_MTU_BYTES_MIN);
  }
  assert.ok(relayed.length - sent <= (isOurs ? 1 : 0), 'one error makes at most one');
  if (relayed.length > sent) checkRelayed(relayed.at(-1)!, quote!);
  const type = bytes[headerLength(bytes)] ?? 0;
  const code = Math.min(bytes[headerLength(bytes) + 1] ?? 0, 15);
  const outcome = (isOurs ? 1 : 0) + (relayed.length - sent) * 2 + (changes.length - told) * 4;
  return quote === undefined ? [] : [(type * 16 + code) * 8 + outcome];
}

/** Only a host of ours is told, about a packet that began as the quote says or as what we remember. */
function checkRelayed({ destination, message }: Relayed, quote: Uint8Array): void {
  const about = message.subarray(8);
  assert.ok(isLocal(destination), `relayed to ${destination}`);
  // RFC 792: a header and 8 bytes, or as much as there was of the packet.
  assert.ok(about.length >= Math.min(28, get16(about, 2)), `quotes ${about.length} bytes`);
  assert.ok(message.length <= MESSAGE_BYTES_MAX, `${message.length} bytes`);
  assert.equal(onesSum(message), 0xffff, 'the checksum of what is relayed');
  assert.ok(message[0] === 3 || message[0] === 12, `type ${message[0]}`);
  assert.equal(get32(about, 12), destination, 'about a packet of whom it is sent to');
  assert.ok(!isNoHost(get32(about, 16)), 'not about a packet to no host');
  const inner = quote.subarray(headerLength(quote));
  const isQuoted = sameBytes(about, inner.subarray(0, about.length));
  assert.ok(isQuoted || sameBytes(about, REMEMBERED), `quotes what was never sent: ${hex(message)}`);
  if (message[0] === 3 && message[1] === 4) assert.ok(get16(message, 6) >= PATH_MTU_BYTES_MIN - 20);
}

/** RFC 792, RFC 1812 §5.2.7: the packet that a well-formed ICMP error quotes, as far as it goes. */
function quoteOf(bytes: Uint8Array): Uint8Array | undefined {
  if (bytes.length < 20 || Math.floor(bytes[0]! / 16) !== 4 || headerLength(bytes) < 20) return undefined;
  const total = get16(bytes, 2);
  if (total > bytes.length || total < headerLength(bytes) + 36) return undefined;
  if (bytes[9] !== 1 || get16(bytes, 6) % 0x4000 !== 0) return undefined;
  const message = bytes.subarray(headerLength(bytes), total);
  if (!ERRORS.includes(message[0]!) || onesSum(message) !== 0xffff) return undefined;
  const quote = message.subarray(8);
  if (Math.floor(quote[0]! / 16) !== 4 || headerLength(quote) < 20) return undefined;
  return quote.length >= headerLength(quote) + 8 && get16(quote, 2) >= headerLength(quote)
    ? quote
    : undefined;
}

function isLocal(address: number): boolean {
  return Math.floor(address / 65_536) === Math.floor(POD / 65_536);
}

function repair(input: Uint8Array, prng: Prng): void {
  for (const { bytes } of readPacketList(input).packets) {
    fitted(bytes, prng);
    const message = resealed(bytes);
    if (message.length < 8) continue;
    const quote = message.subarray(8);
    if (quote.length >= 20 && prng.chance(0.8)) {
      put32(quote, 12, prng.chance(0.9) ? OURS : prng.pick(ADDRESSES));
      put32(quote, 16, prng.pick(prng.chance(0.9) ? PEERS : ADDRESSES));
    }
    // The values around which an MTU is believed are found by no chance.
    if (quote.length >= 4 && prng.chance(0.3))
      put16(message, 6, (get16(quote, 2) + prng.pick([-1, 0, 1])) & 0xffff);
    put16(message, 2, 0);
    put16(message, 2, checksumOf(message, 0, get16(bytes, 2) - headerLength(bytes) || message.length));
  }
}
