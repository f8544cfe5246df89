import { TOTAL } from '../../src/dataplane/counters.ts';
import { SETTINGS, SETTINGS_FLAG } from '../../src/fib/layout.ts';
import type { Batch } from '../../src/io/batch.ts';
import type { PacketIo } from '../../src/io/packet-io.ts';
import { put16, put32, sealHeader } from './oracle/wire.ts';
import type { Saboteur, SimGateway } from './sim-gateway.ts';

type Side = 'device' | 'underlay';

/** What happens to a packet that the broken engine sends: `lose` and `twice` say themselves what they do. */
type Deed = (packet: Uint8Array, batch: Batch, index: number) => 'send' | 'lose' | 'twice';

/** The engine is broken for one packet in this many, so that everything else about it looks right. */
const ONE_IN = 50;

/** Stands between an engine and its I/O and does one deed, now and then, to what the engine sends. */
class SabotagedIo implements PacketIo {
  readonly calls = new Float64Array(1);
  readonly #io: PacketIo;
  readonly #deed: Deed;
  readonly #beforeReceive: () => void;
  #sent = 0;
  /** The next packet was refused, after others that were taken: what the next call has to say. */
  #refusal = 0;

  constructor(io: PacketIo, deed: Deed, beforeReceive: () => void) {
    this.#io = io;
    this.#deed = deed;
    this.#beforeReceive = beforeReceive;
  }

  receive(batch: Batch): number {
    this.#beforeReceive();
    return this.#io.receive(batch);
  }

  send(batch: Batch, from: number, to: number): number {
    const refusal = this.#refusal;
    this.#refusal = 0;
    if (refusal < 0) return refusal;
    for (let i = from; i < to; i++) {
      this.#sent += 1;
      const at = batch.at[i] as number;
      const packet = batch.bytes.subarray(at, at + (batch.length[i] as number));
      const then = this.#sent % ONE_IN === 0 ? this.#deed(packet, batch, i) : 'send';
      if (then === 'lose') continue;
      if (then === 'twice') this.#io.send(batch, i, i + 1);
      const result = this.#io.send(batch, i, i + 1);
      if (result < 0 && i > from) this.#refusal = result;
      if (result <= 0) return i > from ? i - from : result;
    }
    return to - from;
  }

  close(): void {
    this.#io.close();
  }
}

const innocent: Deed = () => 'send';

function onSend(side: Side, deed: Deed): Saboteur {
  return (io, at) => new SabotagedIo(io, at === side ? deed : innocent, () => {});
}

function beforeReceive(side: Side, action: (gateway: SimGateway) => void): Saboteur {
  return (io, at, gateway) =>
    new SabotagedIo(io, innocent, () => (at === side ? action(gateway) : undefined));
}

function rewrite(change: (packet: Uint8Array) => void): Deed {
  return (packet) => {
    change(packet);
    return 'send';
  };
}

export interface Sabotage {
  /** What the engine does wrong. */
  readonly name: string;
  readonly saboteur: Saboteur;
  /** What the auditor must say about it. */
  readonly caughtAs: RegExp;
}

/** Engines that are wrong in one way each. If one of them passes, the simulation proves nothing about that way. */
export const SABOTAGES: readonly Sabotage[] = [
  {
    name: 'forwards packets whose inner source is spoofed',
    saboteur: beforeReceive('underlay', ({ fib: { words } }) => {
      words[SETTINGS.FLAGS]! &= ~(SETTINGS_FLAG.INNER_SOURCE_STRICT | SETTINGS_FLAG.INNER_SOURCE_LOOSE);
    }),
    // Unless the packet is not for us either, it comes out of the device.
    caughtAs: /the device got|spoofed-source, counts 0, expected \d+/,
  },
  {
    name: 'holds a peer to any cluster instead of to its own',
    saboteur: beforeReceive('underlay', ({ fib: { words } }) => {
      const flags = words[SETTINGS.FLAGS] as number;
      if ((flags & SETTINGS_FLAG.INNER_SOURCE_STRICT) === 0) return;
      words[SETTINGS.FLAGS] = (flags & ~SETTINGS_FLAG.INNER_SOURCE_STRICT) | SETTINGS_FLAG.INNER_SOURCE_LOOSE;
    }),
    // Or it is dropped by a later rule.
    caughtAs: /the device got|spoofed-source, counts \d+, expected \d+/,
  },
  {
    name: 'flips a bit of a payload on the way out',
    saboteur: onSend(
      'underlay',
      rewrite((packet) => (packet[packet.length - 1]! ^= 1)),
    ),
    caughtAs: /differs from byte/,
  },
  {
    name: 'flips a bit of a payload on the way in',
    saboteur: onSend(
      'device',
      rewrite((packet) => (packet[packet.length - 1]! ^= 1)),
    ),
    caughtAs: /the device got the wrong packet/,
  },
  {
    name: 'loses a packet on the way out and counts it as forwarded',
    saboteur: onSend('underlay', () => 'lose'),
    caughtAs: /differs from byte|was sent to|not sent|fragment/,
  },
  {
    name: 'loses a packet on the way in and counts it as forwarded',
    saboteur: onSend('device', () => 'lose'),
    caughtAs: /the device got|did not reach the device/,
  },
  {
    name: 'sends a packet twice',
    saboteur: onSend('underlay', () => 'twice'),
    caughtAs: /nothing asked for|differs from byte|was sent to|fragment/,
  },
  {
    name: 'sends a packet to a gateway that was not chosen',
    saboteur: onSend('underlay', (packet, batch, index) => {
      put32(packet, 16, 0xac1f_0906);
      sealHeader(packet);
      batch.address[index] = 0xac1f_0906;
      return 'send';
    }),
    caughtAs: /it was sent to/,
  },
  {
    name: 'clears DF of an outer header',
    saboteur: onSend(
      'underlay',
      rewrite((packet) => {
        put16(packet, 6, 0);
        sealHeader(packet);
      }),
    ),
    caughtAs: /differs from byte/,
  },
  {
    name: 'decrements the inner TTL',
    saboteur: onSend(
      'device',
      rewrite((packet) => {
        packet[8]! -= 1;
        sealHeader(packet);
      }),
    ),
    caughtAs: /the device got the wrong packet/,
  },
  {
    name: 'gives a congestion mark away',
    saboteur: onSend(
      'underlay',
      rewrite((packet) => {
        packet[1]! ^= 1;
        sealHeader(packet);
      }),
    ),
    caughtAs: /differs from byte/,
  },
  {
    name: 'leaves the outer ID at 0',
    saboteur: onSend(
      'underlay',
      rewrite((packet) => {
        put16(packet, 4, 0);
        sealHeader(packet);
      }),
    ),
    caughtAs: /has ID 0/,
  },
  {
    name: 'clamps no segment size',
    saboteur: beforeReceive('device', ({ fib: { words } }) => {
      words[SETTINGS.FLAGS]! &= ~SETTINGS_FLAG.CLAMP_MSS;
    }),
    caughtAs: /differs from byte|wrong packet|MSS_CLAMPED/,
  },
  {
    name: 'counts a packet that never was',
    saboteur: beforeReceive('device', ({ counters }) => {
      if ((counters[TOTAL.TURNS] as number) % ONE_IN === 0) counters[TOTAL.ICMP_QUEUED]! += 1;
    }),
    caughtAs: /ICMP_QUEUED counts/,
  },
  {
    name: 'believes in a larger link than there is',
    saboteur: beforeReceive('device', ({ fib: { words } }) => {
      words[SETTINGS.LINK_MTU]! += 8;
    }),
    caughtAs: /differs from byte|fragment|wrong packet|MSS_CLAMPED|ICMP error/,
  },
];
