import { DROPS_INBOUND, DROPS_OUTBOUND, PEER_CELL, peerCell, sumCell, TOTAL } from '../dataplane/counters.ts';
import { DROP_REASONS, type DropReason } from '../packet/verdict.ts';
import { gaugeOf, type MetricDefinition } from './metric-definition.ts';

/** The directions that a drop reason can have, with the first counter cell of each. */
function directionsOf(reason: DropReason): [direction: string, cell: number][] {
  const outbound: [string, number] = ['outbound', DROPS_OUTBOUND + reason.verdict];
  const inbound: [string, number] = ['inbound', DROPS_INBOUND + reason.verdict];
  if (reason.direction === 'both') return [outbound, inbound];
  return [reason.direction === 'outbound' ? outbound : inbound];
}

function total(name: string, help: string, cell: number): MetricDefinition {
  return {
    name,
    type: 'counter',
    help,
    labels: [],
    samples: (source) => [[sumCell(source.counterBlocks(), cell)]],
  };
}

function byDirection(name: string, help: string, outbound: number, inbound: number): MetricDefinition {
  return {
    name,
    type: 'counter',
    help,
    labels: ['direction'],
    *samples(source) {
      const blocks = source.counterBlocks();
      yield [sumCell(blocks, outbound), 'outbound'];
      yield [sumCell(blocks, inbound), 'inbound'];
    },
  };
}

function byPeer(name: string, help: string, outbound: number, inbound: number): MetricDefinition {
  return {
    name,
    type: 'counter',
    help,
    labels: ['peer', 'cluster', 'direction'],
    *samples(source) {
      const blocks = source.counterBlocks();
      for (const { index, address, clusters } of source.peers()) {
        // One series a peer even where it serves several clusters: a series for each would count its packets more than once in a sum.
        const cluster = clusters.join(',');
        yield [sumCell(blocks, peerCell(index) + outbound), address, cluster, 'outbound'];
        yield [sumCell(blocks, peerCell(index) + inbound), address, cluster, 'inbound'];
      }
    },
  };
}

/** What the packet path counted, from the shared memory it counts in. */
export const TRAFFIC: readonly MetricDefinition[] = [
  byDirection(
    'isthmus_packets_total',
    'Packets forwarded; outbound is from local hosts to peers.',
    TOTAL.OUTBOUND_PACKETS,
    TOTAL.INBOUND_PACKETS,
  ),
  byDirection(
    'isthmus_bytes_total',
    'Bytes of the inner packets forwarded.',
    TOTAL.OUTBOUND_BYTES,
    TOTAL.INBOUND_BYTES,
  ),
  byDirection(
    'isthmus_received_packets_total',
    'Packets read from the tunnel device (outbound) or the underlay (inbound), whatever became of them.',
    TOTAL.OUTBOUND_RECEIVED,
    TOTAL.INBOUND_RECEIVED,
  ),
  {
    name: 'isthmus_dropped_packets_total',
    type: 'counter',
    help: 'Packets not forwarded, by the one reason; docs/drop-reasons.md explains each.',
    labels: ['direction', 'reason'],
    *samples(source) {
      const blocks = source.counterBlocks();
      for (const reason of DROP_REASONS) {
        if (reason.verdict === 0) continue;
        for (const [direction, cell] of directionsOf(reason)) {
          yield [sumCell(blocks, cell), direction, reason.name];
        }
      }
    },
  },
  total(
    'isthmus_fragmented_packets_total',
    'Packets that were fragmented because they did not fit the path.',
    TOTAL.FRAGMENTED,
  ),
  total('isthmus_fragments_total', 'Fragments made from them.', TOTAL.FRAGMENTS),
  total(
    'isthmus_mss_clamped_packets_total',
    'TCP SYN segments whose MSS was lowered to fit the path.',
    TOTAL.MSS_CLAMPED,
  ),
  total(
    'isthmus_icmp_queued_packets_total',
    'ICMP errors that were queued for inner sources.',
    TOTAL.ICMP_QUEUED,
  ),
  total(
    'isthmus_icmp_suppressed_packets_total',
    'ICMP errors not sent because of the rate limit.',
    TOTAL.ICMP_SUPPRESSED,
  ),
  total(
    'isthmus_soft_state_exceeded_packets_total',
    'Packets longer than a learned path MTU that went out all the same, with an ICMP error (RFC 2003 section 5.1).',
    TOTAL.SOFT_STATE_EXCEEDED,
  ),
  total(
    'isthmus_receive_errors_total',
    'Reads from the device or the underlay that failed.',
    TOTAL.RECEIVE_ERRORS,
  ),
  total(
    'isthmus_overflowed_packets_total',
    'Packets the kernel dropped because a receive buffer was full.',
    TOTAL.OVERFLOWED,
  ),
  total(
    'isthmus_system_calls_total',
    'System calls of the packet loops: waiting, receiving, sending.',
    TOTAL.SYSTEM_CALLS,
  ),
  total(
    'isthmus_probe_packets_total',
    'Packets from the underlay that were probes of peers, or answers to ours: neither forwarded nor dropped.',
    TOTAL.INBOUND_PROBES,
  ),
  total(
    'isthmus_ecn_unused_packets_total',
    'Packets from the underlay with a pair of inner and outer ECN field that no sender makes (RFC 6040 section 4.2); one of them is dropped as ecn-illegal.',
    TOTAL.ECN_UNUSED,
  ),
  {
    name: 'isthmus_transmitted_packets_total',
    type: 'counter',
    help: 'With "tunnel.transmit: packet", packets to peers by the socket that they left by; raw where no next hop was known. Else 0.',
    labels: ['socket'],
    *samples(source) {
      const blocks = source.counterBlocks();
      yield [sumCell(blocks, TOTAL.SENT_BY_PACKET_SOCKET), 'packet'];
      yield [sumCell(blocks, TOTAL.SENT_BY_RAW_SOCKET), 'raw'];
    },
  },
  total('isthmus_worker_turns_total', 'Turns of the packet loops.', TOTAL.TURNS),
];

export const PEERS: readonly MetricDefinition[] = [
  byPeer(
    'isthmus_peer_packets_total',
    'Packets forwarded to (outbound) and from (inbound) a peer.',
    PEER_CELL.OUTBOUND_PACKETS,
    PEER_CELL.INBOUND_PACKETS,
  ),
  byPeer(
    'isthmus_peer_bytes_total',
    'Bytes of the inner packets forwarded to and from a peer.',
    PEER_CELL.OUTBOUND_BYTES,
    PEER_CELL.INBOUND_BYTES,
  ),
  byPeer(
    'isthmus_peer_dropped_packets_total',
    'Packets to and from a peer that were not forwarded.',
    PEER_CELL.OUTBOUND_DROPS,
    PEER_CELL.INBOUND_DROPS,
  ),
  gaugeOf(
    'isthmus_peer_alive',
    '1 when flows are sent to the peer, 0 when probes say that it is dead.',
    ['peer', 'cluster'],
    (source) => source.peers(),
    (peer) => [Number(peer.alive), peer.address, peer.clusters.join(',')],
  ),
  gaugeOf(
    'isthmus_peer_path_mtu_bytes',
    'Largest outer packet that reaches the peer unfragmented.',
    ['peer', 'cluster'],
    (source) => source.peers(),
    (peer) => [peer.pathMtuBytes, peer.address, peer.clusters.join(',')],
  ),
];
