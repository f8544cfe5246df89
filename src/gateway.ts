import type { Server as LockServer } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { gatewayMetrics } from './admin/gateway-metrics.ts';
import { type GatewayParts, type GatewayState, RunningGatewayView } from './admin/gateway-view.ts';
import { type AdminServer, startAdminServer } from './admin/server.ts';
import type { ReloadResult } from './admin/view.ts';
import { type Address, formatAddress } from './base/address.ts';
import { type Clock, systemClock, type Timer } from './base/clock.ts';
import { GatewayError, messageOf } from './base/errors.ts';
import { loadConfig } from './config/load.ts';
import { planReload } from './config/reload.ts';
import type { Config, WatchConfig } from './config/schema.ts';
import { type HostRoutes, Publisher } from './dataplane/publisher.ts';
import { fibSettings } from './dataplane/settings.ts';
import { Fib } from './fib/fib.ts';
import { IcmpFeed } from './health/icmp-feed.ts';
import { PathMtuTable } from './health/path-mtu.ts';
import { lockDevice } from './host/device-lock.ts';
import { notifyServiceManager } from './host/notify.ts';
import type { RouteInstaller } from './host/route-installer.ts';
import { SNAPSHOT_DELAY_MS, SnapshotKeeper } from './host/snapshot-keeper.ts';
import type { HostProblem } from './host/sysctl.ts';
import { closeTunnel, openTunnel, type Tunnel } from './host/tunnel.ts';
import { findUnderlay, type Underlay } from './host/underlay.ts';
import { IcmpSocket } from './io/icmp-socket.ts';
import { loadNative } from './io/load.ts';
import type { Native } from './io/native.ts';
import { Netlink } from './io/netlink.ts';
import { type AdjustableLogger, makeLogger } from './observe/log.ts';
import { collectGarbage } from './observe/memory.ts';
import { Metrics } from './observe/metrics.ts';
import { readVersion } from './observe/version.ts';
import type { TableSettings } from './table/refusal.ts';
import type { RouteChanges } from './table/route.ts';
import { Table } from './table/table.ts';
import { ConfigFileWatch } from './watch/config-file.ts';
import { FileWatcher } from './watch/file.ts';
import { type SourceOptions, SourceRunner } from './watch/source-runner.ts';
import { StaticWatcher } from './watch/static.ts';

/** How long the start waits for the sources; what they know later comes later. */
const FIRST_WORD_MS = 2000;

/** A publication of this many routes leaves garbage worth collecting, once what follows it (the snapshot on disk) is over. */
const LARGE_PUBLICATION = 10_000;
const COLLECT_DELAY_MS = SNAPSHOT_DELAY_MS + 1000;

/** Soft state ages in minutes. */
const AGING_INTERVAL_MS = 5000;

/** The configuration's own clusters: never stale, and as good as any other source. */
const STATIC_OPTIONS: SourceOptions = { priority: 0, staleAfterMs: Number.POSITIVE_INFINITY, holdMs: 30_000 };

/** Runs a gateway until it is told to stop. Rejects with a GatewayError when it cannot start. */
export async function runGateway(configFile: string): Promise<void> {
  const gateway = new Gateway(configFile);
  let stop: () => void = () => {};
  const stopped = new Promise<void>((resolve) => {
    stop = resolve;
  });
  const onHangup = () => void gateway.reload();
  process.on('SIGHUP', onHangup);
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  try {
    await gateway.start();
    await stopped;
  } finally {
    process.off('SIGHUP', onHangup);
    await gateway.stop();
  }
}

/** The composition root: constructs every part, joins them, and takes them apart in the opposite order. */
export class Gateway {
  readonly #clock: Clock = systemClock;
  readonly #logger: AdjustableLogger;
  readonly #state: GatewayState;
  readonly #table: Table;
  readonly #fib: Fib;
  readonly #publisher: Publisher;
  readonly #sources: SourceRunner;
  readonly #static: StaticWatcher;
  readonly #pathMtu = new PathMtuTable();
  readonly #icmpFeed: IcmpFeed;
  readonly #view: RunningGatewayView;
  readonly #metrics: Metrics;
  readonly #timers = new Set<Timer>();
  #native: Native | undefined;
  #netlink: Netlink | undefined;
  #lock: LockServer | undefined;
  #admin: AdminServer | undefined;
  #icmpSocket: IcmpSocket | undefined;
  #configWatch: ConfigFileWatch | undefined;
  #snapshot: SnapshotKeeper | undefined;
  #tunnel: Tunnel | undefined;
  #publishDue = false;
  #tableSettings: TableSettings | undefined;
  #reloading: Promise<unknown> = Promise.resolve();

  /** Reads the configuration; throws ConfigError before anything is touched. */
  constructor(configFile: string) {
    const { config } = loadConfig(configFile);
    const nowWallMs = this.#clock.wallMs();
    this.#logger = makeLogger(config.log);
    this.#state = {
      version: readVersion(),
      configFile,
      config,
      phase: 'starting',
      startedWallMs: nowWallMs,
      loadedWallMs: nowWallMs,
      lastReload: null,
      reloads: 0,
      reloadFailures: 0,
      hostProblems: [],
      failures: new Map(),
      peerErrors: new Map(),
      underlay: undefined,
      device: undefined,
      plane: undefined,
    };
    this.#table = new Table();
    this.#fib = new Fib({
      onPeerReleased: (peer, address) => {
        this.#state.plane?.clearPeer(peer);
        this.#state.peerErrors.delete(address);
      },
    });
    this.#publisher = new Publisher(
      this.#table,
      this.#fib,
      this.#hostRoutes(),
      this.#clock,
      (durationMs, changes) => this.#published(durationMs, changes),
    );
    this.#sources = new SourceRunner(this.#table, this.#clock, this.#logger, () => this.#changed());
    this.#static = new StaticWatcher(config.clusters);
    this.#icmpFeed = new IcmpFeed({
      pathMtu: this.#pathMtu,
      clock: this.#clock,
      source: () => this.#state.underlay?.address,
      isPeer: (address) => this.#fib.hasPeer(address),
      onPathMtu: ({ peer, pathMtuBytes }) => {
        this.#fib.setPeer(peer, { pathMtuBytes });
        this.#logger.info({ peer: formatAddress(peer), pathMtuBytes }, 'path MTU changed');
      },
      onError: (peer, text) => this.#state.peerErrors.set(peer, text),
    });
    const parts: GatewayParts = {
      state: this.#state,
      table: this.#table,
      fib: this.#fib,
      publisher: this.#publisher,
      pathMtu: this.#pathMtu,
      clock: this.#clock,
      reload: () => this.reload(),
    };
    this.#view = new RunningGatewayView(parts);
    this.#metrics = new Metrics(gatewayMetrics(parts, this.#view));
  }

  async start(): Promise<void> {
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
    const spoken = this.#startSources();
    await Promise.race([spoken, new Promise<void>((resolve) => this.#clock.after(FIRST_WORD_MS, resolve))]);
    this.#tunnel = this.#openTunnel(this.#native, this.#netlink);
    this.#state.phase = 'running';
    this.#publish();
    if (this.#tunnel.device.isAdopted) this.#changeRoutes((routes) => routes.reconcile());
    this.#age();
    this.#configWatch = new ConfigFileWatch(configFile, () => void this.reload(), this.#clock, this.#logger);
    notifyServiceManager(this.#native, 'READY=1', process.env);
    this.#logger.info(
      {
        routes: this.#table.counts().routes,
        startMs: Math.round(this.#clock.wallMs() - this.#state.startedWallMs),
      },
      'forwarding',
    );
  }

  /** Stops taking packets in, lets those that wait leave, and removes what was made, or keeps it as configured. Idempotent. */
  async stop(): Promise<void> {
    if (this.#state.phase === 'stopping') return;
    this.#state.phase = 'stopping';
    this.#logger.info({}, 'stopping');
    if (this.#native !== undefined) notifyServiceManager(this.#native, 'STOPPING=1', process.env);
    this.#configWatch?.close();
    for (const timer of this.#timers) timer.cancel();
    await this.#sources.stop();
    if (this.#tunnel !== undefined)
      await closeTunnel(this.#tunnel, this.#state.config.tunnel.keepOnExit, this.#clock);
    this.#icmpSocket?.close();
    this.#snapshot?.close();
    await this.#admin?.close();
    this.#netlink?.close();
    this.#lock?.close();
    this.#metrics.close();
    this.#logger.info({}, 'stopped');
  }

  /** Reads the configuration file again. A bad file changes nothing. Reloads follow one another. */
  reload(): Promise<ReloadResult> {
    const result = this.#reloading.then(() => this.#reloadNow());
    this.#reloading = result;
    return result;
  }

  #openTunnel(native: Native, netlink: Netlink): Tunnel {
    const { config } = this.#state;
    const underlay = this.#findUnderlay(netlink);
    this.#state.underlay = underlay;
    this.#reconfigureTable();
    this.#fib.setLocal(config.cluster.cidrs);
    this.#fib.configure(fibSettings(config, underlay.address, underlay.mtuBytes));
    this.#icmpSocket = this.#openIcmpSocket();
    const tunnel = openTunnel({
      native,
      netlink,
      config,
      underlay,
      fib: this.#fib,
      clock: this.#clock,
      logger: this.#logger,
      sendIcmp: (destination, message) => this.#icmpSocket?.send(destination, message),
      onProblems: (problems) => this.#hostProblems(problems),
      onAddressChange: () => this.#reconfigureTable(),
    });
    this.#state.device = tunnel.device;
    this.#state.plane = tunnel.plane;
    return tunnel;
  }

  /** Without it packets flow; only ICMP errors are neither sent nor heard. */
  #openIcmpSocket(): IcmpSocket | undefined {
    try {
      const socket = IcmpSocket.open();
      socket.onReceive((packet) => this.#icmpFeed.receive(packet));
      return socket;
    } catch (thrown) {
      const text = `no ICMP: ${messageOf(thrown)}`;
      this.#state.failures.set('icmp', text);
      this.#logger.error({}, text);
      return undefined;
    }
  }

  #findUnderlay(netlink: Netlink): Underlay {
    const { underlay } = this.#state.config;
    let towards: Address | undefined;
    for (const route of this.#table.routes()) {
      towards = route.gateways[0]?.address;
      if (towards !== undefined) break;
    }
    return findUnderlay(netlink, { address: underlay.address, device: underlay.device, towards });
  }

  #hostRoutes(): HostRoutes {
    return {
      add: (cidrs) => this.#changeRoutes((routes) => routes.add(cidrs)),
      remove: (cidrs) => this.#changeRoutes((routes) => routes.remove(cidrs)),
    };
  }

  /** A route that the kernel does not take is a problem to show, and to try again, but holds up no other route. */
  #changeRoutes(change: (routes: RouteInstaller) => void): void {
    const routes = this.#tunnel?.routes;
    if (routes === undefined) return;
    try {
      change(routes);
      this.#noteFailure('routes', routes.problem);
    } catch (thrown) {
      this.#noteFailure('routes', `kernel routes cannot be changed: ${messageOf(thrown)}`);
    }
  }

  /** Resolves when every source has spoken once. */
  #startSources(): Promise<unknown> {
    const { config } = this.#state;
    const spoken = [this.#sources.add(this.#static, STATIC_OPTIONS)];
    for (const watch of config.watch) spoken.push(this.#addWatch(watch));
    if (config.state.directory !== 'none') {
      this.#snapshot = new SnapshotKeeper(
        config.state.directory,
        this.#table,
        this.#clock,
        this.#logger,
        (failure) => this.#noteFailure('snapshot', failure),
      );
      this.#snapshot.restore();
    }
    return Promise.all(spoken);
  }

  #addWatch(watch: WatchConfig): Promise<void> {
    const watcher = new FileWatcher({
      path: watch.path,
      pollIntervalMs: watch.pollInterval,
      clock: this.#clock,
      logger: this.#logger,
    });
    return this.#sources.add(watcher, optionsOf(watch));
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
      this.#state.failures.delete('publish');
    } catch (thrown) {
      const text = `routes cannot be published, packets follow the earlier ones: ${messageOf(thrown)}`;
      this.#state.failures.set('publish', text);
      this.#logger.error({ reason: messageOf(thrown) }, 'routes cannot be published');
    }
  }

  #published(durationMs: number, { set, removed }: RouteChanges): void {
    // A gateway that was gone for a while comes back as a new peer, and the path to it is still the one that was learned.
    for (const { peer, pathMtuBytes } of this.#pathMtu.learned()) this.#fib.setPeer(peer, { pathMtuBytes });
    this.#metrics.observePublish(durationMs / 1000);
    this.#logger.info(
      { set: set.length, removed: removed.length, durationMs: Number(durationMs.toFixed(3)) },
      'routes published',
    );
    // The portable engine shares this thread: it would not carry packets meanwhile.
    const isPortable = this.#state.config.tunnel.underlaySocket === 'raw-socket';
    if (set.length + removed.length >= LARGE_PUBLICATION && !isPortable)
      this.#later(COLLECT_DELAY_MS, collectGarbage);
  }

  #reloadNow(): Promise<ReloadResult> {
    const state = this.#state;
    state.reloads += 1;
    const atWallMs = this.#clock.wallMs();
    let next: Config;
    try {
      next = loadConfig(state.configFile).config;
    } catch (thrown) {
      const error = messageOf(thrown);
      state.reloadFailures += 1;
      state.lastReload = { atWallMs, ok: false, error };
      this.#logger.error(
        { config: state.configFile, reason: error },
        'the new configuration is wrong; the previous one stays in force',
      );
      return Promise.resolve({ ok: false, changed: [], restartNeeded: [], error });
    }
    const { changed, restartNeeded, effective } = planReload(state.config, next);
    const previous = state.config;
    state.config = effective;
    state.loadedWallMs = atWallMs;
    state.lastReload = { atWallMs, ok: true, error: null };
    this.#noteFailure(
      'restart',
      restartNeeded.length === 0
        ? undefined
        : `these changes take effect only after a restart: ${restartNeeded.join(', ')}`,
    );
    this.#logger.info({ config: state.configFile, changed, restartNeeded }, 'configuration loaded again');
    return this.#applyConfig(previous, effective).then(() => ({
      ok: true,
      changed,
      restartNeeded,
      error: null,
    }));
  }

  async #applyConfig(previous: Config, next: Config): Promise<void> {
    this.#logger.setLevel(next.log.level);
    this.#static.update(next.clusters);
    const wanted = new Map(next.watch.map((watch) => [watch.path, watch]));
    for (const watch of previous.watch) {
      const successor = wanted.get(watch.path);
      // How often to look is built into the watcher; everything else is the table's to know.
      if (successor === undefined || successor.pollInterval !== watch.pollInterval) {
        await this.#sources.remove(sourceName(watch));
      } else {
        wanted.delete(watch.path);
        if (!isDeepStrictEqual(watch, successor))
          this.#sources.setOptions(sourceName(watch), optionsOf(successor));
      }
    }
    for (const watch of wanted.values()) void this.#addWatch(watch);
    this.#reconfigureTable();
    this.#fib.setLocal(next.cluster.cidrs);
    const { underlay } = this.#state;
    if (underlay !== undefined) this.#fib.configure(fibSettings(next, underlay.address, underlay.mtuBytes));
    this.#changed();
  }

  #reconfigureTable(): void {
    const { config, underlay } = this.#state;
    const settings = {
      cluster: config.cluster.name,
      local: config.cluster.cidrs,
      ownAddresses: this.#netlink?.addresses().map((entry) => entry.address) ?? [],
      underlay: underlay?.address ?? null,
    };
    // Hosts with many pods see addresses come and go all day, and judging 100,000 claims again is not free.
    if (isDeepStrictEqual(settings, this.#tableSettings)) return;
    this.#tableSettings = settings;
    this.#table.reconfigure(settings, this.#clock.nowMs(), this.#clock.wallMs());
    this.#changed();
  }

  /** Throws ISTHMUS_ERR_KERNEL at the start when host.checks is `enforce` and the host cannot forward. */
  #hostProblems(problems: readonly HostProblem[]): void {
    const { checks } = this.#state.config.host;
    const fatal = problems.find((problem) => problem.isFatal);
    if (checks === 'enforce' && fatal !== undefined && this.#state.phase === 'starting') {
      throw new GatewayError('ISTHMUS_ERR_KERNEL', fatal.message);
    }
    const known = new Set(this.#state.hostProblems.map((problem) => problem.message));
    const counted = checks === 'off' ? [] : problems;
    for (const problem of counted) {
      if (!known.has(problem.message)) this.#logger.error({ setting: problem.setting }, problem.message);
    }
    this.#state.hostProblems = counted;
  }

  #noteFailure(what: string, text: string | undefined): void {
    if (text === undefined) {
      this.#state.failures.delete(what);
      return;
    }
    if (this.#state.failures.get(what) !== text) this.#logger.error({ what }, text);
    this.#state.failures.set(what, text);
  }

  #age(): void {
    this.#icmpFeed.expire();
    if (this.#publisher.isBehind) this.#publish();
    if (this.#state.failures.has('routes')) this.#changeRoutes((routes) => routes.reconcile());
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

function sourceName(watch: WatchConfig): string {
  return `${watch.kind}:${watch.path}`;
}

function optionsOf(watch: WatchConfig): SourceOptions {
  return { priority: watch.priority, staleAfterMs: watch.staleAfter, holdMs: watch.massWithdrawalHold };
}
