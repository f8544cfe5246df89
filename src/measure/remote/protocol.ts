import { z } from 'zod';
import { LOAD } from '../../io/native.ts';
import type { LoadCommands } from '../load/commands.ts';

/**
 * What `isthmus bench run` and `isthmus bench serve` say to each other over one TCP connection for each path: lines of JSON.
 *
 *   server      {"isthmus":"bench","version":1,"challenge":"…","needsToken":true}
 *   controller  {"version":1,"session":"…","proof":"…"}
 *   server      {"welcome":{"program":"0.1.0","trafficPort":9463,…}}    or {"refused":"…"}, and the end
 *   controller  {"id":1,"command":"receive","request":{…}}
 *   server      {"id":1,"answer":{…}}                                   or {"id":1,"error":"…"}
 *
 * Commands are those of the load agent, but no request names an address: the server sends test traffic to the address that the
 * connection comes from and to no other, so that nobody can point it at somebody else. Moments are of the server's monotonic clock.
 */
export const PROTOCOL_VERSION = 1;

/** Beside that of the admin API. Test traffic, UDP and TCP, goes to the next one. */
export const CONTROL_PORT = 9462;

/** Of a controller: the longest line is a request to send IMIX, below 1 KiB. */
export const LINE_BYTES_MAX = 16_384;
/** Of a server, which answers with up to PROBES_MAX round-trip times of up to 20 characters. */
export const ANSWER_BYTES_MAX = 262_144;
/** A controller asks for the clock at least this often; without a word for LOST_MS the other end is gone. A flood may cost a few. */
export const ALIVE_MS = 2000;
export const LOST_MS = 20_000;

/** Of one measurement; a user can ask for one of a minute. */
export const MEASUREMENT_MS_MAX = 61_000;
/** From a request to its first packet. */
export const LEAD_MS_MAX = 10_000;
/** Above what a core sends; a flood has no rate. */
const PER_SECOND_MAX = 10_000_000;
const PAYLOADS_MAX = 64;
const PROBES_MAX = 10_000;
const TCP_MSS_MIN = 88;
const TCP_MSS_MAX = 32_767;

const port = z.int().min(1024).max(65_535);
const run = z
  .int()
  .min(0)
  .max(2 ** 32 - 1);
const moment = z.int().nonnegative();
const payload = z.int().min(LOAD.HEAD_BYTES).max(LOAD.PAYLOAD_BYTES_MAX);
const flows = z.int().min(1).max(LOAD.FLOWS_MAX);
const count = z.number().nonnegative();
const nothing = z.strictObject({});

/** What each command takes. */
export const REQUESTS = {
  clock: nothing,
  busy: nothing,
  receive: z.strictObject({ run, endAtNs: moment, graceMs: z.number().min(0).max(2000) }),
  send: z.strictObject({
    ...{ port, run, flows },
    payloadBytes: z.array(payload).min(1).max(PAYLOADS_MAX),
    perSecond: z.number().min(1).max(PER_SECOND_MAX).nullable(),
    startAtNs: moment,
    durationMs: z.number().positive().max(MEASUREMENT_MS_MAX),
  }),
  drain: z.strictObject({ quietMs: z.number().min(1).max(1000), atMostMs: z.number().min(1).max(5000) }),
  echo: z.strictObject({ run, endAtNs: moment }),
  trips: z.strictObject({
    ...{ port, run, payloadBytes: payload },
    count: z.int().min(1).max(PROBES_MAX),
    intervalMs: z.number().min(0.05).max(1000),
    timeoutMs: z.number().min(1).max(5000),
  }),
  streamIn: z.strictObject({ startAtNs: moment, endAtNs: moment }),
  streamOut: z.strictObject({
    ...{ port, connections: flows, startAtNs: moment, endAtNs: moment },
    mss: z.int().min(TCP_MSS_MIN).max(TCP_MSS_MAX).nullable(),
  }),
} as const;

/** What each command answers. */
export const ANSWERS = {
  clock: z.object({ ns: moment }),
  busy: z.object({ seconds: z.number().nonnegative() }),
  receive: z.object({
    ...{ inTime: count, arrived: count, duplicates: count, reordered: count, overflowed: count },
  }),
  send: z.object({ sent: count, refused: count }),
  drain: z.null(),
  echo: z.object({ echoed: count }),
  trips: z.object({ sent: count, microseconds: z.array(z.number().nonnegative()).max(PROBES_MAX) }),
  streamIn: z.object({ bytes: count }),
  streamOut: z.object({ bytes: count }),
} as const;

export type RemoteCommand = keyof typeof REQUESTS;
export type RemoteRequest<C extends RemoteCommand> = z.infer<(typeof REQUESTS)[C]>;
export type RemoteAnswer<C extends RemoteCommand> = z.infer<(typeof ANSWERS)[C]>;
/** Those that make or take traffic: one at a time. */
export type TrafficCommand = Exclude<RemoteCommand, 'clock' | 'busy'> & keyof LoadCommands;

const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`), 'expected hex');

export const SESSION_BYTES = 16;
export const CHALLENGE_BYTES = 32;
export const PROOF_BYTES = 32;

export const greetingSchema = z.object({
  isthmus: z.literal('bench'),
  version: z.int(),
  challenge: hex(CHALLENGE_BYTES),
  needsToken: z.boolean(),
});
/** Of any version, so that one that is too new or too old is told so. */
export const helloSchema = z.object({ version: z.int() });
export const helloOfVersion1Schema = z.strictObject({
  version: z.literal(PROTOCOL_VERSION),
  /** Connections with the same session belong together: one for each address that a path is measured to. */
  session: hex(SESSION_BYTES),
  proof: hex(PROOF_BYTES).nullable(),
});
const text = z.string().max(1000);
const name = z.string().min(1).max(200);
/** What the server runs on, as a result says it of both ends. */
const machine = z.object({
  ...{ processor: name, kernel: name, node: name },
  ...{ cores: z.int().nonnegative(), memoryGiB: z.number().nonnegative() },
});
export const welcomeSchema = z.object({
  welcome: z.object({ program: name, trafficPort: z.int().min(1).max(65_535), machine }),
});
export type Welcome = z.infer<typeof welcomeSchema>['welcome'];
export const refusedSchema = z.object({ refused: text });
export const replySchema = z.union([
  z.object({ id: z.int(), error: text }),
  z.object({ id: z.int(), answer: z.unknown() }),
]);
const callSchema = z.strictObject({ id: z.int().min(1), command: z.string().max(100), request: z.unknown() });

export type Call = {
  readonly [C in RemoteCommand]: {
    readonly id: number;
    readonly command: C;
    readonly request: RemoteRequest<C>;
  };
}[RemoteCommand];

/** A line that is not what it should be; the message names what. `id` where it was a request that can be answered. */
export class ProtocolError extends Error {
  readonly id: number | null;
  constructor(message: string, id: number | null = null) {
    super(message);
    this.id = id;
  }
}

/** Reads a line of a controller that was welcomed. */
export function readCall(line: string): Call {
  const { id, command, request } = readAs(callSchema, readJson(line), 'request');
  if (!Object.hasOwn(REQUESTS, command)) throw new ProtocolError(`there is no command "${command}"`, id);
  const name = command as RemoteCommand;
  const parsed = readAs<unknown>(REQUESTS[name], request, name, id);
  return { id, command: name, request: parsed } as Call;
}

/** Refuses moments that the server would have to wait long for, and measurements that take too long. */
export function checkMoments(call: Call, nowNs: number): void {
  const { startAtNs = nowNs, endAtNs = startAtNs } = call.request as {
    startAtNs?: number;
    endAtNs?: number;
  };
  const latest = nowNs + (LEAD_MS_MAX + MEASUREMENT_MS_MAX) * 1e6;
  const refuse = (field: string, why: string): never => {
    throw new ProtocolError(`${call.command}: ${field}: ${why}`, call.id);
  };
  if (startAtNs > nowNs + LEAD_MS_MAX * 1e6) refuse('startAtNs', `more than ${LEAD_MS_MAX} ms from now`);
  if (endAtNs < startAtNs) refuse('endAtNs', 'before startAtNs');
  if (endAtNs > latest || endAtNs - startAtNs > MEASUREMENT_MS_MAX * 1e6) {
    refuse('endAtNs', `a measurement of more than ${MEASUREMENT_MS_MAX} ms`);
  }
  if (call.command === 'trips' && call.request.count * call.request.intervalMs > MEASUREMENT_MS_MAX) {
    refuse('count', `probes for more than ${MEASUREMENT_MS_MAX} ms`);
  }
}

export function readJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new ProtocolError('a line is not JSON');
  }
}

/** `what` begins the message. */
export function readAs<T>(schema: z.ZodType<T>, value: unknown, what: string, id: number | null = null): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  throw new ProtocolError(`${[what, ...path.map(String)].join(': ')}: ${message}`, id);
}
