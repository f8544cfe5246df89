import {
  DROPS_INBOUND,
  DROPS_OUTBOUND,
  GLOBAL_CELLS,
  PEER_CELL,
  PEER_CELLS,
  peerCell,
  TOTAL,
} from '../../src/dataplane/counters.ts';
import { DROP_REASONS, VERDICT, VERDICT_COUNT } from '../../src/packet/verdict.ts';
import { FlowMemory } from './flow-memory.ts';
import { IcmpBudget } from './oracle/icmp-budget.ts';
import { predictInbound } from './oracle/inbound.ts';
import type { Model, ModelPeer } from './oracle/model.ts';
import { predictOutbound } from './oracle/outbound.ts';
import { SendsCheck } from './oracle/pieces.ts';
import { get16, get32, hex, sameBytes } from './oracle/wire.ts';
import { type Attempt, EMSGSIZE, type RecordingIo } from './recording-io.ts';

/** The simulated gateway did something that the oracle does not allow. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

interface PendingSends {
  readonly check: SendsCheck;
  readonly peer: ModelPeer | undefined;
  readonly cause: Uint8Array;
  taken: number;
}

interface PendingDelivery {
  readonly packet: Uint8Array;
  readonly peer: ModelPeer | undefined;
  readonly cause: Uint8Array;
}

/** An outer ID of a packet that may be fragmented must not come again while its namesake may live: a u16 counter has gone round by then. */
const ID_DISTANCE_MIN = 60_000;

/**
 * Holds one gateway to the oracle, after every turn of its engine: each packet that was read must have become exactly what the rules say,
 * and every counter must say so too.
 */
export class Auditor {
  readonly #model: Model;
  readonly #counters: Float64Array;
  readonly #device: RecordingIo;
  readonly #underlay: RecordingIo;
  readonly #budget: IcmpBudget;
  readonly #flows = new FlowMemory();
  readonly #expected = new Float64Array(GLOBAL_CELLS);
  /** Read, but not yet looked at by the engine: the batch waits for a full send queue. */
  readonly #waiting: Uint8Array[] = [];
  readonly #sends: PendingSends[] = [];
  readonly #deliveries: PendingDelivery[] = [];
  readonly #idUse = new Map<number, number>();
  #datagrams = 0;

  constructor(
    model: Model,
    counters: Float64Array,
    device: RecordingIo,
    underlay: RecordingIo,
    nowMs: number,
  ) {
    this.#model = model;
    this.#counters = counters;
    this.#device = device;
    this.#underlay = underlay;
    this.#budget = new IcmpBudget(nowMs);
  }

  /** Call after each turn; `isBlocked` says whether the engine still holds packets. Throws a Violation. */
  afterTurn(nowMs: number, isBlocked: boolean): void {
    this.#expected[TOTAL.TURNS]! += 1;
    this.#waiting.push(...this.#device.received.splice(0));
    const looked = this.#counters[TOTAL.OUTBOUND_RECEIVED]! - this.#expected[TOTAL.OUTBOUND_RECEIVED]!;
    if (looked > this.#waiting.length)
      fail(`${looked} packets counted outbound, ${this.#waiting.length} were read`);
    for (const packet of this.#waiting.splice(0, looked)) this.#outbound(packet, nowMs);
    for (const attempt of this.#underlay.attempts.splice(0)) this.#sent(attempt);
    for (const packet of this.#underlay.received.splice(0)) this.#inbound(packet);
    for (const attempt of this.#device.attempts.splice(0)) this.#delivered(attempt);
    this.#expected[TOTAL.RECEIVE_ERRORS] = this.#device.receiveErrors + this.#underlay.receiveErrors;
    if (isBlocked) return;
    this.#nothingLeft();
    this.#countersAgree();
  }

  /** Takes a message that the gateway hands to its ICMP socket. */
  icmp(destination: number, message: Uint8Array): void {
    const wrong = this.#budget.take(destination, message);
    if (wrong !== undefined) fail(wrong);
  }

  /** Call after the ICMP queue was drained. */
  noIcmpLeft(): void {
    if (this.#budget.waiting > 0) fail(`${this.#budget.waiting} ICMP errors are owed and were not sent`);
  }

  /** Compares what is counted for each peer; `indexOf` gives the index of a peer in the FIB image. */
  peersAgree(indexOf: ReadonlyMap<number, number>): void {
    if (this.#sends.length > 0 || this.#deliveries.length > 0) return;
    for (const peer of this.#model.peers.values()) {
      const index = indexOf.get(peer.address);
      if (index === undefined) fail(`peer ${peer.address} is in no record of the FIB image`);
      for (let cell = 0; cell < PEER_CELLS; cell++) {
        const actual = this.#counters[peerCell(index) + cell]!;
        if (actual === peer.counts[cell]) continue;
        fail(
          `${nameIn(PEER_CELL, cell)} of peer ${peer.address} is ${actual}, expected ${peer.counts[cell]}`,
        );
      }
    }
  }

  /** received + fragments - fragmented = forwarded + dropped, from the counters alone. Only while nothing is on its way in the engine. */
  sumsAgree(): void {
    if (this.#sends.length > 0 || this.#deliveries.length > 0 || this.#waiting.length > 0) return;
    const { OUTBOUND_RECEIVED, OUTBOUND_PACKETS, FRAGMENTS, FRAGMENTED } = TOTAL;
    const { INBOUND_RECEIVED, INBOUND_PACKETS, INBOUND_PROBES } = TOTAL;
    const cell = (index: number): number => this.#counters[index]!;
    const drops = (from: number): number => {
      let sum = 0;
      for (let verdict = 0; verdict < VERDICT_COUNT; verdict++) sum += cell(from + verdict);
      return sum;
    };
    const made = cell(FRAGMENTS) - cell(FRAGMENTED);
    const outbound = cell(OUTBOUND_RECEIVED) + made - cell(OUTBOUND_PACKETS) - drops(DROPS_OUTBOUND);
    if (outbound !== 0) fail(`${outbound} outbound packets are neither forwarded nor counted as dropped`);
    const taken = cell(INBOUND_PACKETS) + cell(INBOUND_PROBES);
    const inbound = cell(INBOUND_RECEIVED) - taken - drops(DROPS_INBOUND);
    if (inbound !== 0) fail(`${inbound} inbound packets are neither forwarded nor counted as dropped`);
  }

  #outbound(packet: Uint8Array, nowMs: number): void {
    const fate = predictOutbound(this.#model, packet);
    const peer = fate.gateway === undefined ? undefined : this.#model.peers.get(fate.gateway);
    this.#expect(TOTAL.OUTBOUND_RECEIVED);
    if (fate.clamped === true) this.#expect(TOTAL.MSS_CLAMPED);
    if (fate.softStateExceeded === true) this.#expect(TOTAL.SOFT_STATE_EXCEEDED);
    if (fate.icmp !== undefined) {
      this.#expect(this.#budget.wish(fate.icmp, nowMs) ? TOTAL.ICMP_QUEUED : TOTAL.ICMP_SUPPRESSED);
    }
    if (fate.choice !== undefined && fate.gateway !== undefined) {
      const moved = this.#flows.note(fate.choice, fate.gateway);
      if (moved !== undefined) fail(moved);
    }
    if (fate.sends !== undefined) {
      this.#sends.push({ check: new SendsCheck(fate.sends), peer, cause: packet, taken: 0 });
    } else {
      this.#expect(DROPS_OUTBOUND + fate.verdict);
      if (peer !== undefined) peer.counts[PEER_CELL.OUTBOUND_DROPS]! += 1;
    }
  }

  #sent({ bytes, address, errno }: Attempt): void {
    const pending = this.#sends[0];
    if (pending === undefined) {
      fail(`a packet was sent to ${address} that nothing asked for: ${hex(bytes)}`);
    }
    const wrong = pending.check.take(bytes, address);
    if (wrong !== undefined) fail(`${wrong}\n    made of  ${hex(pending.cause)}`);
    if (pending.taken === 0) this.#idIsFresh(bytes);
    pending.taken += 1;
    const counts = pending.peer?.counts;
    if (errno === 0) {
      this.#expect(TOTAL.OUTBOUND_PACKETS);
      this.#expect(TOTAL.OUTBOUND_BYTES, bytes.length - 20);
      if (counts !== undefined) {
        counts[PEER_CELL.OUTBOUND_PACKETS]! += 1;
        counts[PEER_CELL.OUTBOUND_BYTES]! += bytes.length - 20;
      }
    } else {
      this.#expect(DROPS_OUTBOUND + (errno === EMSGSIZE ? VERDICT.TOO_BIG : VERDICT.SEND_FAILED));
      if (counts !== undefined) counts[PEER_CELL.OUTBOUND_DROPS]! += 1;
    }
    if (!pending.check.isComplete) return;
    this.#sends.shift();
    if (pending.check.expected.pieces === 'whole') return;
    this.#expect(TOTAL.FRAGMENTED);
    this.#expect(TOTAL.FRAGMENTS, pending.taken);
  }

  #inbound(packet: Uint8Array): void {
    const fate = predictInbound(this.#model, packet);
    const peer = fate.peer === undefined ? undefined : this.#model.peers.get(fate.peer);
    this.#expect(TOTAL.INBOUND_RECEIVED);
    if (fate.clamped === true) this.#expect(TOTAL.MSS_CLAMPED);
    if (fate.ecnUnused === true) this.#expect(TOTAL.ECN_UNUSED);
    if (fate.packet !== undefined) this.#deliveries.push({ packet: fate.packet, peer, cause: packet });
    else {
      this.#expect(DROPS_INBOUND + fate.verdict);
      if (peer !== undefined) peer.counts[PEER_CELL.INBOUND_DROPS]! += 1;
    }
  }

  #delivered({ bytes, errno }: Attempt): void {
    const pending = this.#deliveries.shift();
    if (pending === undefined) fail(`the device got a packet that the rules forbid: ${hex(bytes)}`);
    if (!sameBytes(bytes, pending.packet)) {
      fail(`the device got the wrong packet\n    expected ${hex(pending.packet)}\n    got      ${hex(bytes)}
    made of  ${hex(pending.cause)}`);
    }
    const counts = pending.peer?.counts;
    if (errno === 0) {
      this.#expect(TOTAL.INBOUND_PACKETS);
      this.#expect(TOTAL.INBOUND_BYTES, bytes.length);
      if (counts !== undefined) {
        counts[PEER_CELL.INBOUND_PACKETS]! += 1;
        counts[PEER_CELL.INBOUND_BYTES]! += bytes.length;
      }
    } else {
      this.#expect(DROPS_INBOUND + VERDICT.DEVICE_FAILED);
      if (counts !== undefined) counts[PEER_CELL.INBOUND_DROPS]! += 1;
    }
  }

  /** RFC 6864 §4.1: any ID will do where DF is set, but 0 leaves the choice to Linux. §4.2: elsewhere it must be unique. */
  #idIsFresh(outer: Uint8Array): void {
    const id = get16(outer, 4);
    if (id === 0) fail(`an outer packet has ID 0: ${hex(outer)}`);
    this.#datagrams += 1;
    if (get16(outer, 6) >= 0x4000) return;
    const key = get32(outer, 16) * 0x1_0000 + id;
    const last = this.#idUse.get(key);
    if (last !== undefined && this.#datagrams - last < ID_DISTANCE_MIN) {
      fail(`outer ID ${id} comes again after ${this.#datagrams - last} datagrams, and DF is not set`);
    }
    this.#idUse.set(key, this.#datagrams);
  }

  #nothingLeft(): void {
    if (this.#waiting.length > 0) fail(`${this.#waiting.length} packets were read and not looked at`);
    const lost = this.#sends[0];
    if (lost !== undefined) {
      const { gateway } = lost.check.expected;
      fail(
        `${this.#sends.length} packets were not sent; the first, to ${gateway}, made of ${hex(lost.cause)}`,
      );
    }
    const missing = this.#deliveries[0];
    if (missing !== undefined) {
      fail(`${this.#deliveries.length} packets did not reach the device; the first: ${hex(missing.packet)}`);
    }
  }

  #countersAgree(): void {
    const wrong: string[] = [];
    for (let cell = 0; cell < GLOBAL_CELLS; cell++) {
      if (this.#counters[cell] === this.#expected[cell]) continue;
      wrong.push(`${cellName(cell)} counts ${this.#counters[cell]}, expected ${this.#expected[cell]}`);
    }
    if (wrong.length > 0) fail(wrong.join('; '));
  }

  #expect(cell: number, by = 1): void {
    this.#expected[cell]! += by;
  }
}

function cellName(cell: number): string {
  if (cell < DROPS_OUTBOUND) return nameIn(TOTAL, cell);
  const isOutbound = cell < DROPS_INBOUND;
  const reason = DROP_REASONS[cell - (isOutbound ? DROPS_OUTBOUND : DROPS_INBOUND)]?.name ?? cell;
  return `drops ${isOutbound ? 'outbound' : 'inbound'}, ${reason},`;
}

function nameIn(cells: Readonly<Record<string, number>>, wanted: number): string {
  return Object.keys(cells).find((name) => cells[name] === wanted) ?? `cell ${wanted}`;
}

function fail(detail: string): never {
  throw new Violation(detail);
}
