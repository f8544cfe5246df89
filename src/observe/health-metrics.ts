import type { LivenessState } from '../health/liveness.ts';
import type { PeerHealthState } from '../health/peer-probes.ts';
import { gaugeOf, type MetricDefinition } from './metric-definition.ts';

const STATES: readonly LivenessState[] = ['unknown', 'alive', 'dead', 'recovering'];

/** One number a peer; peers of which probes do not know it yet are left out. */
function ofPeer(
  name: string,
  help: string,
  read: (health: PeerHealthState) => number | undefined,
): MetricDefinition {
  return gaugeOf(
    name,
    help,
    ['peer', 'cluster'],
    (source) => source.peers(),
    ({ address, clusters, health }) => {
      const value = health === undefined ? undefined : read(health);
      return value === undefined ? undefined : [value, address, clusters.join(',')];
    },
  );
}

function inSeconds(milliseconds: number | undefined): number | undefined {
  return milliseconds === undefined ? undefined : milliseconds / 1000;
}

/** What probes say of the peers. */
export const HEALTH: readonly MetricDefinition[] = [
  {
    name: 'isthmus_peer_state',
    type: 'gauge',
    help: '1 for the state that probes say a peer is in, 0 for the others; unknown never answered a probe.',
    labels: ['peer', 'cluster', 'state'],
    *samples(source) {
      for (const { address, clusters, health } of source.peers()) {
        for (const state of STATES)
          yield [Number((health?.state ?? 'unknown') === state), address, clusters.join(','), state];
      }
    },
  },
  ofPeer(
    'isthmus_peer_round_trip_seconds',
    'Round-trip time of probes through the tunnel, smoothed.',
    ({ roundTripMs }) => inSeconds(roundTripMs),
  ),
  ofPeer('isthmus_peer_jitter_seconds', 'Mean deviation of the round-trip time.', ({ jitterMs }) =>
    inSeconds(jitterMs),
  ),
  ofPeer(
    'isthmus_peer_probe_loss_ratio',
    'Share of the last 128 probes that were lost, on the way there or back.',
    ({ loss }) => loss,
  ),
  {
    name: 'isthmus_peer_probes_total',
    type: 'counter',
    help: 'Small probes of a peer that were sent and answered.',
    labels: ['peer', 'cluster', 'result'],
    *samples(source) {
      for (const { address, clusters, health } of source.peers()) {
        yield [health?.sent ?? 0, address, clusters.join(','), 'sent'];
        yield [health?.answered ?? 0, address, clusters.join(','), 'answered'];
      }
    },
  },
  {
    name: 'isthmus_probe_requests_total',
    type: 'counter',
    help: 'Probes of other gateways: answered, and refused because they were too many.',
    labels: ['result'],
    *samples(source) {
      const { answeredRequests, refusedRequests } = source.probes();
      yield [answeredRequests, 'answered'];
      yield [refusedRequests, 'refused'];
    },
  },
  {
    name: 'isthmus_probes_unexpected_total',
    type: 'counter',
    help: 'Probes that nobody waits for: late, forged, or of a former run of this gateway.',
    labels: [],
    samples: (source) => [[source.probes().unexpected]],
  },
  {
    name: 'isthmus_probes_unsent_total',
    type: 'counter',
    help: 'Probes that the kernel did not take: no way to the peer, or longer than its route allows.',
    labels: [],
    samples: (source) => [[source.probes().unsent]],
  },
];
