import { randomBytes } from 'node:crypto';
import type { Server as LockServer } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { gatewayMetrics } from './admin/gateway-metrics.ts';
import { type GatewayParts, type GatewayState, RunningGatewayView } from './admin/gateway-view.ts';
import { type AdminServer, startAdminServer } from './admin/server.ts';
import { startingState } from './admin/starting-state.ts';
import type { ReloadResult } from './admin/view.ts';
import { formatAddress } from './base/address.ts';
import { assert } from './base/assert.ts';
import { type Clock, systemClock, type Timer } from './base/clock.ts';
import { messageOf } from './base/errors.ts';
import { failure } from './base/failure.ts';
import { loadConfig } from './config/load.ts';
import { planReload } from './config/reload.ts';
import type { Config } from './config/schema.ts';
import { underlayFamily } from './config/underlay-family.ts';
import { Publisher } from './dataplane/publisher.ts';
import { Fib } from './fib/fib.ts';
import { PathMtuTable } from './health/path-mtu.ts';
import { PeerHealth } from './health/peer-health.ts';
import { UnderlayIcmp } from './health/underlay-icmp.ts';
import { lockDevice } from './host/device-lock.ts';
import { replaceFootprint } from './host/footprint.ts';
import type { NatRules } from './host/nat.ts';
import { notifyServiceManager } from './host/notify.ts';
import { natWish, openServiceNat } from './host/service-nat.ts';
import { SNAPSHOT_DELAY_MS, SnapshotKeeper } from './host/snapshot-keeper.ts';
import { TunnelOwner } from './host/tunnel-owner.ts';
import { loadNative } from './io/load.ts';
import type { Native } from './io/native.ts';
import { Netlink } from './io/netlink.ts';
import { EcnAlarm } from './observe/ecn-alarm.ts';
import { type AdjustableLogger, makeLogger } from './observe/log.ts';
import { collectGarbage } from './observe/memory.ts';
import { Metrics } from './observe/metrics.ts';
import type { TableSettings } from './table/refusal.ts';
import type { RouteChanges } from './table/route.ts';
import { Table } from './table/table.ts';
import { ConfigFileWatch } from './watch/config-file.ts';
import { ConfiguredSources } from './watch/configured-sources.ts';
import type { OwnGateway } from './watch/own-gateway.ts';
import { protectedCidrs, ServerAddresses } from './watch/server-addresses.ts';
import { SourceRunner } from './watch/source-runner.ts';

/** How long the start waits for the sources; what they know later comes later. */
const FIRST_WORD_MS = 2000;

/**
 * A start leaves garbage worth collecting, and so does a publication of this many routes: what loading made, and a little later what the
 * snapshot on disk took.
 */
const LARGE_PUBLICATION = 10_000;
const COLLECT_DELAYS_MS = [500, SNAPSHOT_DELAY_MS + 500] as const;

/** Soft state ages in minutes. */
const AGING_INTERVAL_MS = 5000;

/** The composition root: constructs every part, joins them, and takes them apart in the opposite order. */
export class Gateway {
  readonly #clock: Clock = systemClock;
  readonly #logger: AdjustableLogger;
  readonly #state: GatewayState;
  readonly #table: Table;
  readonly #fib: Fib;
  readonly #publisher: Publisher;
  readonly #sources: SourceRunner;
  readonly #configured: ConfiguredSources;
  readonly #pathMtu = new PathMtuTable();
  readonly #icmp: UnderlayIcmp;
  readonly #health: PeerHealth;
  readonly #servers: ServerAddresses;
  readonly #view: RunningGatewayView;
  readonly #metrics: Metrics;
  readonly #ecnAlarm: EcnAlarm;
  readonly #timers = new Set<Timer>();
  #native: Native | undefined;
  #netlink: Netlink | undefined;
  #lock: LockServer | undefined;
  #admin: AdminServer | undefined;
  #configWatch: ConfigFileWatch | undefined;
  #snapshot: SnapshotKeeper | undefined;
  #tunnel: TunnelOwner | undefined;
  #nat: NatRules | undefined;
  #publishDue = false;
  #tableSettings: TableSettings | undefined;
  #reloading: Promise<unknown> = Promise.resolve();
  readonly #failed = failure();

  /** Reads the configuration; throws ConfigError before anything is touched. */
  constructor(configFile: string) {
    const { config } = loadConfig(configFile);
    this.#logger = makeLogger(config.log);
    this.#state = startingState(configFile, config, this.#logger, this.#clock.wallMs());
    this.#table = new Table();
    this.#fib = new Fib({
      hashSeed: randomBytes(4).readUInt32BE(),
      onPeerReleased: (peer, address) => {
        this.#state.plane?.clearPeer(peer);
        this.#state.peerErrors.delete(address);
      },
    });
    this.#publisher = new Publisher(
      this.#table,
      this.#fib,
      {
        add: (cidrs) => this.#tunnel?.add(cidrs),
        remove: (cidrs) => this.#tunnel?.remove(cidrs),
      },
      this.#clock,
      (durationMs, changes) => this.#published(durationMs, changes),
    );
    this.#sources = new SourceRunner(this.#table, this.#clock, this.#logger, () => this.#changed());
    this.#configured = new ConfiguredSources(
      {
        runner: this.#sources,
        clock: this.#clock,
        logger: this.#logger,
        host: () => {
          const [native, netlink] = [this.#native, this.#netlink];
          assert(native !== undefined, 'sources are made after the addon was loaded');
          assert(netlink !== undefined, 'sources are made after netlink was opened');
          return { native, netlink };
        },
        report: (cluster) => this.#view.report(cluster),
        leaves: () => this.#state.phase === 'stopping' && !this.#state.config.tunnel.keepOnExit,
      },
      config,
    );
    this.#servers = new ServerAddresses({
      tunnelAddress: () => this.#state.config.tunnel.address,
      onChange: () => this.#addressesChanged(),
    });
    this.#ecnAlarm = new EcnAlarm(this.#logger, this.#clock);
    this.#health = this.#makeHealth();
    this.#icmp = this.#makeIcmp();
    const parts: GatewayParts = {
      state: this.#state,
      table: this.#table,
      fib: this.#fib,
      publisher: this.#publisher,
      pathMtu: this.#pathMtu,
      icmp: this.#icmp,
      health: this.#health,
      clock: this.#clock,
      own: this.#configured.own,
      streams: this.#configured.streams,
      notes: this.#configured.notes,
      reload: () => this.reload(),
    };
    this.#view = new RunningGatewayView(parts);
    this.#metrics = new Metrics(gatewayMetrics(parts, this.#view));
  }

  /** Resolves early when `stopping` ends the wait for an underlay that is not there yet. */
  async start(stopping: AbortSignal): Promise<void> {
    const { config, configFile } = this.#state;
    this.#logger.info({ config: configFile, cluster: config.cluster.name }, 'starting');
    this.#native = loadNative();
    this.#netlink = new Netlink(this.#native);
    this.#lock = await lockDevice(config.tunnel.device);
    if (config.admin.listen !== 'none') {
      this.#admin = await startAdminServer({
        listen: config.admin.listen,
        view: this.#view,
        metrics: this.#metrics,
        log: this.#logger,
      });
    }
    this.#reconfigureTable();
    await this.#startSources();
    const unwritten = await replaceFootprint(config, this.#netlink, this.#logger);
    if (unwritten !== undefined) this.#state.problems.note('state', unwritten);
    this.#tunnel = this.#makeTunnelOwner(this.#native, this.#netlink);
    const waiting = (reason: string | undefined) => this.#state.problems.note('underlay', reason);
    await this.#tunnel.untilUnderlay(stopping, (reason) => waiting(`waiting for the underlay: ${reason}`));
    if (stopping.aborted) return;
    waiting(undefined);
    this.#tunnel.open();
    const deaf = this.#icmp.open();
    if (deaf !== undefined) this.#state.problems.note('icmp', `no ICMP: ${deaf}`);
    const blind = this.#health.open(this.#native);
    if (blind !== undefined) this.#state.problems.note('health', `gateways are not probed: ${blind}`);
    this.#nat = openServiceNat({
      native: this.#native,
      netlink: this.#netlink,
      device: config.tunnel.device,
      clock: this.#clock,
      logger: this.#logger,
      onProblem: (problem) => this.#state.problems.note('nat', problem),
    });
    this.#applyNat();
    this.#state.phase = 'running';
    this.#publish();
    this.#tunnel.adoptRoutes();
    this.#age();
    this.#configWatch = new ConfigFileWatch(configFile, () => void this.reload(), this.#clock, this.#logger);
    notifyServiceManager(this.#native, 'READY=1', process.env);
    this.#later(COLLECT_DELAYS_MS[0], collectGarbage);
    this.#logger.info(
      {
        routes: this.#table.counts().routes,
        startMs: Math.round(this.#clock.wallMs() - this.#state.startedWallMs),
      },
      'forwarding',
    );
  }

  /**
   * Stops taking packets in, lets those that wait leave, and removes what was made, or keeps it as configured. Idempotent. Goes through
   * all the steps whatever fails, and rejects with the first failure at the end.
   */
  async stop(): Promise<void> {
    if (this.#state.phase === 'stopping') return;
    this.#state.phase = 'stopping';
    this.#logger.info({}, 'stopping');
    const { keepOnExit } = this.#state.config.tunnel;
    const steps: (() => unknown)[] = [
      () => this.#native && notifyServiceManager(this.#native, 'STOPPING=1', process.env),
      () => this.#configWatch?.close(),
      () => {
        for (const timer of this.#timers) timer.cancel();
      },
      () => this.#reloading,
      () => this.#sources.stop(),
      () => this.#tunnel?.close(keepOnExit),
      () => this.#nat?.remove(),
      () => this.#icmp.close(),
      () => this.#health.close(),
      () => this.#servers.close(),
      () => this.#snapshot?.close(),
      () => this.#admin?.close(),
      () => this.#netlink?.close(),
      () => this.#lock?.close(),
      () => this.#metrics.close(),
    ];
    const failures: unknown[] = [];
    for (const step of steps) {
      try {
        await step();
      } catch (thrown) {
        failures.push(thrown);
        this.#logger.error({ reason: messageOf(thrown) }, 'a step of stopping failed; the others go on');
      }
    }
    this.#logger.info({}, 'stopped');
    if (failures.length > 0) throw failures[0];
  }

  /** Reads the configuration file again. A bad file changes nothing. Reloads follow one another; never rejects. */
  reload(): Promise<ReloadResult> {
    const result = this.#reloading.then(() => this.#reloadNow());
    this.#reloading = result;
    return result;
  }

  /** Rejects when something happened that the gateway cannot mend. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  #makeHealth(): PeerHealth {
    return new PeerHealth({
      fib: this.#fib,
      pathMtu: this.#pathMtu,
      clock: this.#clock,
      logger: this.#logger,
      config: () => this.#state.config,
      underlay: () => this.#state.underlay,
    });
  }

  #makeIcmp(): UnderlayIcmp {
    return new UnderlayIcmp({
      pathMtu: this.#pathMtu,
      clock: this.#clock,
      source: () => this.#state.underlay?.address,
      isPeer: (address) => this.#fib.hasPeer(address),
      udpPortOf: (address) => this.#fib.udpPortOf(address),
      isLocal: (address) => this.#table.isLocal(address),
      recall: (...words) => this.#state.plane?.recallSent(...words) ?? false,
      onPathMtu: ({ peer, pathMtuBytes }) => {
        this.#fib.setPeer(peer, { pathMtuBytes });
        this.#health.pathReported(peer, pathMtuBytes);
        this.#logger.info({ peer: formatAddress(peer), pathMtuBytes }, 'path MTU changed');
      },
      distrustsReports: (peer) => this.#health.distrustsReports(peer),
      onError: (peer, text) => this.#state.peerErrors.set(peer, text),
    });
  }

  #makeTunnelOwner(native: Native, netlink: Netlink): TunnelOwner {
    const state = this.#state;
    return new TunnelOwner({
      native,
      netlink,
      table: this.#table,
      fib: this.#fib,
      clock: this.#clock,
      logger: this.#logger,
      config: () => this.#state.config,
      slowPath: {
        sendIcmp: this.#icmp.send,
        sendIcmp6: this.#icmp.send6,
        onProbe: this.#health.onProbe,
      },
      onUnderlay: (underlay) => {
        this.#state.underlay = underlay;
        this.#addressesChanged();
        this.#applyNat();
        this.#health.configure();
      },
      onOpened: ({ device, plane }) => {
        this.#state.device = device;
        this.#state.plane = plane;
      },
      onProblems: (problems) =>
        state.problems.setHost(problems, state.config.host.checks, state.phase === 'starting'),
      onAddressChange: () => this.#addressesChanged(),
      onRoutes: (problem) => this.#state.problems.note('routes', problem),
      onFailed: (reason) => this.#failed.reject(reason),
      addressGraceMs: state.config.tunnel.gatewayGrace,
    });
  }

  #addressesChanged(): void {
    this.#announce({ address: this.#state.underlay?.address });
    try {
      this.#reconfigureTable();
    } catch (thrown) {
      this.#logger.error({ reason: messageOf(thrown) }, 'the addresses of this host cannot be read');
    }
  }

  /** As often as anything changed that the rules depend on; the same wish again costs nothing. */
  #applyNat(): void {
    const { underlay, config } = this.#state;
    if (underlay === undefined || this.#nat === undefined) return;
    const { cidrs } = this.#configured.own.current;
    this.#nat.apply(natWish(config, underlay.deviceName, this.#table.localCidrs(), cidrs));
  }

  /** Resolves when every source has spoken once, or after a while. */
  async #startSources(): Promise<void> {
    const { config } = this.#state;
    const spoken = this.#configured.start(config);
    if (config.state.directory !== 'none') {
      this.#snapshot = new SnapshotKeeper(
        config.state.directory,
        this.#table,
        this.#clock,
        this.#logger,
        (failure) => this.#state.problems.note('snapshot', failure),
      );
      this.#snapshot.restore();
    }
    await Promise.race([spoken, new Promise<void>((resolve) => this.#clock.after(FIRST_WORD_MS, resolve))]);
  }

  /** Called for every update of a source; several in one turn of the event loop are published together. */
  #changed(): void {
    for (const event of this.#table.events())
      this.#logger[event.level]({ event: event.event, ...event.fields }, event.message);
    if (this.#publishDue) return;
    this.#publishDue = true;
    setImmediate(() => {
      this.#publishDue = false;
      this.#publish();
    });
  }

  #publish(): void {
    if (this.#state.phase !== 'running') return;
    try {
      if (this.#publisher.publish()) this.#snapshot?.schedule();
      this.#state.problems.note('publish', undefined);
    } catch (thrown) {
      const text = `routes cannot be published, packets follow the earlier ones: ${messageOf(thrown)}`;
      this.#state.problems.note('publish', text);
      this.#logger.error({ reason: messageOf(thrown) }, 'routes cannot be published');
    }
  }

  #published(durationMs: number, { set, removed, local }: RouteChanges): void {
    if (local !== undefined) this.#announce({ cidrs: local });
    // A gateway that was gone for a while comes back as a new peer, and the path to it is still the one that was learned.
    for (const { peer, pathMtuBytes } of this.#pathMtu.learned()) this.#fib.setPeer(peer, { pathMtuBytes });
    this.#health.peersChanged();
    this.#metrics.observePublish(durationMs / 1000);
    this.#logger.info(
      { set: set.length, removed: removed.length, durationMs: Number(durationMs.toFixed(3)) },
      'routes published',
    );
    // The portable engine shares this thread: it would not carry packets meanwhile.
    const isPortable = this.#state.config.tunnel.underlaySocket === 'raw-socket';
    if (set.length + removed.length >= LARGE_PUBLICATION && !isPortable)
      for (const delayMs of COLLECT_DELAYS_MS) this.#later(delayMs, collectGarbage);
  }

  async #reloadNow(): Promise<ReloadResult> {
    const state = this.#state;
    if (state.phase === 'stopping') {
      return { ok: false, changed: [], restartNeeded: [], error: 'the gateway is stopping' };
    }
    state.reloads += 1;
    const atWallMs = this.#clock.wallMs();
    try {
      const next = loadConfig(state.configFile).config;
      const { changed, restartNeeded, effective } = planReload(state.config, next);
      await this.#applyConfig(state.config, effective);
      state.config = effective;
      this.#applyNat();
      this.#health.configure();
      if (changed.length > 0) state.loadedWallMs = atWallMs;
      state.lastReload = { atWallMs, ok: true, error: null };
      const later = `these changes take effect only after a restart: ${restartNeeded.join(', ')}`;
      this.#state.problems.note('restart', restartNeeded.length === 0 ? undefined : later);
      this.#logger.info({ config: state.configFile, changed, restartNeeded }, 'configuration loaded again');
      return { ok: true, changed, restartNeeded, error: null };
    } catch (thrown) {
      const error = messageOf(thrown);
      state.reloadFailures += 1;
      state.lastReload = { atWallMs, ok: false, error };
      this.#logger.error(
        { config: state.configFile, reason: error },
        'the new configuration cannot be used; the previous one stays in force',
      );
      return { ok: false, changed: [], restartNeeded: [], error };
    }
  }

  async #applyConfig(previous: Config, next: Config): Promise<void> {
    // What can refuse comes first, so that a refusal leaves everything as it was.
    this.#tunnel?.configure(next);
    this.#reconfigureTable(next);
    this.#logger.setLevel(next.log.level);
    await this.#configured.change(previous, next);
    this.#changed();
  }

  /** Others learn of us by what the sources make of this. */
  #announce(change: Partial<OwnGateway>): void {
    const { own } = this.#configured;
    own.set({ ...own.current, ...change });
    this.#applyNat();
  }

  #reconfigureTable(config: Config = this.#state.config): void {
    const { underlay } = this.#state;
    const settings = {
      cluster: config.cluster.name,
      local: config.cluster.cidrs,
      ownAddresses: this.#netlink?.addresses().map((entry) => entry.address) ?? [],
      family: underlayFamily(config),
      underlay: underlay?.address ?? null,
      protected: protectedCidrs(config.security.protect, this.#servers.list),
      gatewayGraceMs: config.tunnel.gatewayGrace,
    };
    // Hosts with many pods see addresses come and go all day, and judging 100,000 claims again is not free.
    if (isDeepStrictEqual(settings, this.#tableSettings)) return;
    this.#tableSettings = settings;
    this.#table.reconfigure(settings, this.#clock.nowMs(), this.#clock.wallMs());
    this.#changed();
  }

  #age(): void {
    this.#icmp.expire();
    this.#ecnAlarm.look(this.#state.plane?.counterBlocks ?? []);
    // What a CIDR of ours is used for may change without its being ours.
    this.#applyNat();
    if (this.#publisher.isBehind) this.#publish();
    if (this.#state.problems.has('routes')) this.#tunnel?.retryRoutes();
    this.#fib.reclaim();
    for (const peer of this.#state.peerErrors.keys())
      if (!this.#fib.hasPeer(peer)) this.#state.peerErrors.delete(peer);
    this.#later(AGING_INTERVAL_MS, () => this.#age());
  }

  #later(delayMs: number, action: () => void): void {
    const timer = this.#clock.after(delayMs, () => {
      this.#timers.delete(timer);
      action();
    });
    this.#timers.add(timer);
  }
}
