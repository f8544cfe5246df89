import type { StreamState } from '../watch/stream-state.ts';
import type { MetricDefinition, Sample } from './metric-definition.ts';

type StreamSample = (stream: StreamState, wallMs: number) => Iterable<Sample>;

function ofStreams(
  name: string,
  type: 'counter' | 'gauge',
  help: string,
  sample: StreamSample,
  labels: readonly string[] = [],
): MetricDefinition {
  return {
    name,
    type,
    help,
    labels: ['source', 'resource', ...labels],
    *samples(source) {
      for (const stream of source.streams()) {
        for (const [value, ...rest] of sample(stream, source.wallMs()))
          yield [value, stream.source, stream.resource, ...rest];
      }
    },
  };
}

/** How the list-watches of sources are doing: what others find out from a pod that stopped noticing changes an hour ago. */
export const WATCHES: readonly MetricDefinition[] = [
  ofStreams(
    'isthmus_watch_last_event_age_seconds',
    'gauge',
    'Time since the last word of the server about a resource, bookmarks included; absent before the first.',
    ({ lastEventMs }, wallMs) => (lastEventMs === null ? [] : [[Math.max(0, wallMs - lastEventMs) / 1000]]),
  ),
  ofStreams(
    'isthmus_watch_healthy',
    'gauge',
    '1 while a resource is watched, or is known not to exist; 0 while it is connected to, listed, or waited for after an error.',
    ({ phase }) => [[Number(phase === 'watching' || phase === 'absent')]],
  ),
  ofStreams('isthmus_watch_objects', 'gauge', 'Objects of a resource that count for us.', ({ objects }) => [
    [objects],
  ]),
  ofStreams(
    'isthmus_watch_lists_total',
    'counter',
    'Complete lists of a resource, by reason; every reason but "start" is a watch that could not go on.',
    ({ lists }) => Object.entries(lists).map(([reason, count]) => [count, reason]),
    ['reason'],
  ),
  ofStreams('isthmus_watch_events_total', 'counter', 'Changes that watches told.', ({ events }) => [
    [events],
  ]),
  ofStreams('isthmus_watch_errors_total', 'counter', 'Requests and watches that failed.', ({ errors }) => [
    [errors],
  ]),
];
