/** Limits of one list-watch. All are reached in tests with smaller numbers; nobody has had to configure them. */
export interface ReflectorLimits {
  /** Objects asked for at once; as client-go. */
  readonly pageObjects: number;
  /** A server that always has one more page is not believed; these would be objectsMax on pages of two. */
  readonly pagesMax: number;
  /** Ten times the nodes of the largest clusters and their IPAM blocks; more than this is a server gone wrong. */
  readonly objectsMax: number;
  /** A watch ends by itself after a time in this range, so that many gateways do not come back at once. */
  readonly watchSecondsMin: number;
  readonly watchSecondsMax: number;
  /** Beyond the time that the server was asked to end the watch after: then nobody is there any more. */
  readonly watchMarginMs: number;
  /** Once a server has sent a bookmark it goes on about each minute; a watch without a word for this long is dead. */
  readonly bookmarkSilenceMs: number;
  /** An event has at most the size of an object in etcd (1.5 MiB), in JSON perhaps four times that. */
  readonly lineBytesMax: number;
  /** A watch that ends this soon has told nothing: some load balancers close what they cannot serve instead of answering. */
  readonly earlyCloseMs: number;
  /** Watches in a row that ended without a word, or with an error, before everything is listed again. */
  readonly failuresMax: number;
  /** Initial events of a watch-list come without a pause; a server that pauses before their end does not know of watch-lists. */
  readonly initialEventsSilenceMs: number;
  /** A watch-list that has not come to its end by then is given up for a list, for servers whose events never pause. */
  readonly initialEventsMs: number;
  /** Changes are handed on at most this often, so that a storm becomes few of them; the first of a storm does not wait. */
  readonly coalesceMs: number;
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  /** How often a resource that the server does not know is asked for, growing from the one to the other. */
  readonly absentMinMs: number;
  readonly absentMaxMs: number;
}

export const REFLECTOR_LIMITS: ReflectorLimits = {
  pageObjects: 500,
  pagesMax: 100_000,
  objectsMax: 200_000,
  watchSecondsMin: 240,
  watchSecondsMax: 600,
  watchMarginMs: 30_000,
  bookmarkSilenceMs: 180_000,
  lineBytesMax: 8 << 20,
  earlyCloseMs: 2000,
  failuresMax: 3,
  initialEventsSilenceMs: 5000,
  initialEventsMs: 60_000,
  coalesceMs: 20,
  backoffMinMs: 800,
  backoffMaxMs: 30_000,
  absentMinMs: 2000,
  absentMaxMs: 60_000,
};
