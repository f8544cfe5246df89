import type { ModelGateway } from './oracle/model.ts';
import type { Choice } from './oracle/outbound.ts';

/** More flows than any run has at a time; beyond it the oldest are forgotten. */
const FLOWS_MAX = 20_000;

interface Last {
  readonly gateway: number;
  readonly live: readonly ModelGateway[];
}

/**
 * Remembers where each flow went and among which gateways. It knows nothing of hashing: it holds the balancing to what operators are
 * promised, that a flow moves only when something about its own gateway, or about the one it moves to, has changed.
 */
export class FlowMemory {
  readonly #last = new Map<string, Last>();

  /** What is wrong with sending the flow to `gateway`; undefined when nothing is. */
  note({ flow, live }: Choice, gateway: number): string | undefined {
    const last = this.#last.get(flow);
    this.#last.delete(flow);
    this.#last.set(flow, { gateway, live });
    if (this.#last.size > FLOWS_MAX) this.#last.delete(this.#last.keys().next().value as string);
    if (!live.some(({ address }) => address === gateway))
      return `flow ${flow} went to ${gateway}, which is not alive`;
    if (last === undefined || last.gateway === gateway) return undefined;
    const weightBefore = (address: number): number => weightIn(last.live, address);
    const weightNow = (address: number): number => weightIn(live, address);
    if (weightNow(last.gateway) < weightBefore(last.gateway)) return undefined;
    if (weightNow(gateway) > weightBefore(gateway)) return undefined;
    return `flow ${flow} moved from ${last.gateway} to ${gateway}, though the one is not worse off and the other not better`;
  }
}

/** 0: not among the live ones. */
function weightIn(gateways: readonly ModelGateway[], wanted: number): number {
  return gateways.find(({ address }) => address === wanted)?.weight ?? 0;
}
