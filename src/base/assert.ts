/** Stops the process on a broken invariant. Never for input: bad packets are verdicts, bad arguments are GatewayErrors. */
export function assert(condition: boolean, invariant: string): asserts condition {
  if (!condition) throw new AssertionFailure(invariant);
}

export class AssertionFailure extends Error {
  override readonly name = 'AssertionFailure';
  constructor(invariant: string) {
    super(`broken invariant: ${invariant}`);
  }
}
