import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { EventLoopMonitor } from './event-loop.ts';
import type { MetricDefinition } from './metric-definition.ts';
import { METRICS } from './metric-table.ts';
import type { MetricsSource } from './metrics-source.ts';

/** What the admin API serves under /metrics. */
export interface MetricsText {
  readonly contentType: string;
  text(): Promise<string>;
}

export const PUBLISH_HISTOGRAM = {
  name: 'isthmus_fib_publish_duration_seconds',
  help: 'Time from a change of routes to its being visible to packets.',
  // The promise is 1 ms for a patch and 150 ms for a compile of 100,000 prefixes; buckets lie around both.
  buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5],
} as const;

/** The metrics of one gateway, in a registry of their own, so that several gateways in one process do not meet. */
export class Metrics implements MetricsText {
  readonly #registry = new Registry();
  readonly #eventLoop = new EventLoopMonitor();
  readonly #publish: Histogram;

  constructor(source: MetricsSource) {
    for (const definition of METRICS) register(this.#registry, definition, source, this.#eventLoop);
    this.#publish = new Histogram({
      ...PUBLISH_HISTOGRAM,
      buckets: [...PUBLISH_HISTOGRAM.buckets],
      registers: [this.#registry],
    });
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }

  /** One publication of the FIB image. */
  observePublish(seconds: number): void {
    this.#publish.observe(seconds);
  }

  close(): void {
    this.#eventLoop.close();
  }
}

function register(
  registry: Registry,
  { name, help, type, labels, samples }: MetricDefinition,
  source: MetricsSource,
  eventLoop: EventLoopMonitor,
): void {
  const options = { name, help, labelNames: labels, registers: [registry] };
  // The counters live in shared memory and are only copied here, so a counter is emptied and filled again at each scrape.
  if (type === 'counter') {
    new Counter({
      ...options,
      collect() {
        this.reset();
        for (const [value, ...texts] of samples(source, eventLoop)) this.inc(labelled(labels, texts), value);
      },
    });
    return;
  }
  new Gauge({
    ...options,
    collect() {
      this.reset();
      for (const [value, ...texts] of samples(source, eventLoop)) this.set(labelled(labels, texts), value);
    },
  });
}

function labelled(names: readonly string[], texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name, i) => [name, texts[i] ?? '']));
}
