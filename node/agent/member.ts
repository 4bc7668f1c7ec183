import { randomInt } from 'node:crypto';
import type { Answer, Ask } from '../../protocol/asks.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Era, Ledger, Run } from '../../protocol/ledger.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import type { Measured, Report } from '../../protocol/report.ts';
import type { HandlersOf } from '../../scheduler/effect-table.ts';
import type { Durable } from '../../scheduler/effects.ts';
import type { BesideWish } from '../../scheduler/hosting/beside-rules.ts';
import { demandOf } from '../../scheduler/jobs/demand.ts';
import { restoredState } from '../../scheduler/state.ts';
import { committedLedger, runContactAt } from '../../scheduler/views.ts';
import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import { CudaCheckpoint } from '../machine/cuda-checkpoint.ts';
import { counts } from '../metrics/counts.ts';
import type { Executor, Machine, Store } from '../ports.ts';
import { gitlabProblem, returnOf } from '../runs/gitlab-return.ts';
import { jobMemory } from '../runs/job-memory.ts';
import { RunSupervisor } from '../runs/run-supervisor.ts';
import { SecretBox } from '../secrets/secret-box.ts';
import { mintStoreId } from '../store/level-store.ts';
import { Waiters } from '../waiters.ts';
import { answersOf, type NoticeButtons } from './answers.ts';
import type { CacheSharing } from './cache-sharing.ts';
import { Changes } from './change-requests.ts';
import { CoreLoop } from './core-loop.ts';
import { type CoreView, viewInput } from './core-views.ts';
import type { DeferredNetwork } from './deferred-network.ts';
import { retiredExecutor } from './describe-machine.ts';
import { type EffectHandlers, networkHandlers, perform, runHandlers } from './effect-handlers.ts';
import { EndedTraces } from './ended-traces.ts';
import { GitlabEffects } from './gitlab-effects.ts';
import type { HandsOver } from './gitlab-hand-over.ts';
import { GitlabTrust } from './gitlab-trust.ts';
import type { HomeDisk } from './home-disk.ts';
import { warmUpFailover } from './jit-warm-up.ts';
import { cacheSharingOf, secretKeeperOf } from './member-parts.ts';
import { Departure } from './own-departure.ts';
import { OwnHosting } from './own-hosting.ts';
import { OwnMeasuring } from './own-measuring.ts';
import { patientRecords } from './record-writes.ts';
import { RunWatch } from './run-watch.ts';
import type { SecretKeeper } from './secret-keeper.ts';
import { disksOf, type WorkDisk } from './work-disk.ts';

interface MemberOptions {
  home: string;
  artifactLimitBytes?: number | undefined;
  cacheLimitBytes?: number | undefined;
  /** Absent: true. */
  sharesCaches?: boolean;
  settingsFile: string;
  holdsCopies: boolean;
  hasDrills: boolean;
  /** Absent: never. */
  handsOver?: HandsOver;
  isStrict?: boolean;
  /** Absent or null: `auto`. */
  bootsBeside?: BesideWish | null | undefined;
  /** Absent: false. */
  forwards?: boolean;
  mdns?: boolean;
  copyRateBytes: number | null;
  name: string;
  version: string;
  nodeId: NodeId;
  durable: Durable;
  meshKey: string;
  /** Of the identity's key. */
  seed: Uint8Array;
  network: DeferredNetwork;
  /** The engine that would run GitLab. */
  dockerHost: string | null;
  store: Store;
  clock: Clock;
  machine: Machine;
  executors: Executor[];
  log: Log;
  onLedger(ledger: Ledger): void;
  /** The agent must end: it handed over, or a broken invariant. */
  onEnd(error: unknown): void;
}

const watchdogWords = (log: Log) => (because: string | null) =>
  because === null ? log.info('the watchdog hears of the runs again') : log.error(because);

/**
 * This node as a member of its mesh: the core, and the handlers that do what it decides. Life: made (runs adopted first,
 * SAFETY J2) -> `start` (network and core) -> `leave` or `stop`.
 */
export class Member {
  readonly loop: CoreLoop;
  readonly changes: Changes;
  readonly gitlab: GitlabEffects;
  readonly runs: RunSupervisor;
  readonly hosting: OwnHosting;
  readonly #caches: CacheSharing;
  /** `from`: who asks; this node itself for its own command line. */
  readonly answer: (from: NodeId, ask: Ask) => Promise<Answer>;
  readonly buttons: NoticeButtons = { link: null };
  readonly traces = new EndedTraces(() => this.gitlab.admin());
  readonly #trust: GitlabTrust;
  readonly #gitlabReturn = returnOf(() => this.ledger()?.gitlab.url);
  readonly #runWatch: RunWatch;
  readonly #homeDisk: HomeDisk;
  readonly #workDisk: WorkDisk;
  /** Results that GitLab did not take. */
  readonly givenUp: string[] = [];
  readonly box: SecretBox;
  readonly #secrets: SecretKeeper;
  readonly #options: MemberOptions;
  /** Until the next ledger is committed here. */
  readonly nextCommit = new Waiters();
  /** Also until a machine, or this one, has told of itself. */
  readonly nextNews = new Waiters();
  readonly #departure = new Departure((happened) => this.loop.feed(happened));
  readonly #handlers: EffectHandlers;
  readonly #measuring: OwnMeasuring;
  #isStopping = false;
  #endWarmUp: (() => void) | null = null;
  /** While the store cannot be written: why. A node in this state neither leads nor gets jobs. */
  #storeProblem: string | null = null;

  constructor(options: MemberOptions) {
    this.#options = options;
    const { clock, log, store, meshKey, seed, nodeId, home, network } = options;
    this.#trust = new GitlabTrust(options.home, log);
    this.box = new SecretBox({ self: nodeId, seed, meshKey, ledger: () => this.ledger() });
    const identity = {
      ...{ node: nodeId, name: options.name, store: store.id },
      ...{ boot: clock.bootId(), startedAtWallMs: clock.wallMs() },
      seed: randomInt(2 ** 31),
      version: options.version,
    };
    this.loop = new CoreLoop({
      state: restoredState(identity, options.durable, clock.bootMs()),
      store,
      clock,
      perform: (effect) => perform(this.#handlers, effect),
      storeFailing: (failing, because) => this.#storeFailing(failing, because),
      crashed: (error) => options.onEnd(error),
    });
    const feed: CoreLoop['feed'] = (happened) => this.loop.feed(happened);
    this.changes = new Changes(feed);
    this.gitlab = new GitlabEffects({
      ledger: () => this.ledger(),
      seal: (text) => this.box.seal(text),
      unseal: (sealed) => this.box.unseal(sealed),
      feed,
      warn: (sentence) => log.warn(sentence),
      onAway: () => this.#gitlabReturn.away(),
    });
    this.#gitlabReturn.onBack(() => {
      feed({ kind: 'queue-hinted', answers: true });
      void this.measure();
    });
    this.#measuring = this.#makeMeasuring();
    this.#caches = cacheSharingOf(options, this);
    this.runs = this.#makeRuns();
    [this.#homeDisk, this.#workDisk] = disksOf(options, {
      running: () => this.runs.running(),
      endRun: (run, because) => this.runs.end(run, because),
      giveWay: (bytes) => this.runs.caches.giveBack(bytes),
      giveBack: () => this.runs.giveBack(),
      onChange: () => void this.measure(),
    });
    this.#runWatch = new RunWatch({ home, runs: this.runs, clock, onProblem: watchdogWords(log) });
    this.#secrets = secretKeeperOf(options, this);
    this.hosting = new OwnHosting(options, {
      feed,
      watch: this.#runWatch,
      box: this.box,
      ledger: () => this.ledger(),
      view: () => viewInput(this.view()),
      core: () => this.loop.state,
      change: (change) => this.changes.ask(change),
    });
    const { runs, gitlab, traces, hosting } = this;
    this.answer = answersOf({
      ...{ home, log, network, runs, gitlab, traces, hosting, feed, caches: this.#caches, buttons: this.buttons },
      view: () => this.view(),
    });
    this.#handlers = {
      ...networkHandlers(options.network, feed),
      ...this.gitlab.handlers(),
      ...runHandlers(this.runs, feed, log),
      ...this.hosting.handlers(),
      ...this.#agentHandlers(),
    };
  }

  #agentHandlers(): HandlersOf<'agent'> {
    const { network, log, onLedger } = this.#options;
    return {
      note: (said) => log.event(said),
      answer: ({ id, outcome }) => this.changes.answer(id, outcome),
      'publish-ledger': ({ ledger }) => {
        counts.committed(ledger.stamp);
        network.setLedger(ledger);
        onLedger(ledger);
        this.#trust.ledgerChanged(ledger);
        this.hosting.ledgerChanged();
        this.nextCommit.wake();
        this.nextNews.wake();
      },
      'mint-store': () => this.loop.feed({ kind: 'store-minted', store: mintStoreId() }),
      departed: ({ because }) => {
        log.info(because);
        this.#departure.done();
      },
    };
  }

  ledger(): Ledger | null {
    return committedLedger(this.loop.state);
  }

  /** Why this node can neither lead nor work now: its disk, or the store on it. */
  get storeProblem(): string | null {
    return this.#homeDisk.problem ?? this.#storeProblem;
  }

  view(): CoreView {
    const { clock } = this.#options;
    return { state: this.loop.state, at: clock.bootMs(), wallMs: clock.wallMs() };
  }

  get measured(): Measured | null {
    return this.#measuring.latest;
  }

  /** Runs of before a restart go on before anything else is loaded. */
  async resume(): Promise<void> {
    await this.runs.resume();
    this.#runWatch.start();
    this.#homeDisk.start();
    this.#workDisk.start();
    for (const run of this.runs.runs()) this.loop.feed({ kind: 'run-changed', run });
  }

  start(): void {
    const { network } = this.#options;
    const ledger = this.ledger();
    if (ledger) {
      network.setLedger(ledger);
      this.#options.onLedger(ledger);
      this.#trust.ledgerChanged(ledger);
    }
    this.#measuring.start();
    for (const node of network.connected()) this.loop.feed({ kind: 'connected', node });
    this.loop.feed({ kind: 'ticked' });
    this.#endWarmUp = warmUpFailover((error) =>
      this.#options.log.warn(`the warm-up of failover broke: ${error.message}`),
    );
    this.#secrets.start();
    this.hosting.start();
  }

  heard(from: NodeId, message: PeerMessage, era: Era | null): void {
    this.loop.feed({ kind: 'heard', from, message, ...(era ? { era } : {}) });
  }

  reported(from: NodeId, report: Report): void {
    this.loop.feed({ kind: 'report-heard', from, report });
    this.nextNews.wake();
  }

  /**
   * Hands over, at most `patienceMs`; then the agent may stop, or sleep. Runs stay, for the agent that comes back: within
   * `backMs` none of them is called lost.
   */
  leave(patienceMs: number, backMs?: number): Promise<boolean> {
    return this.#departure.leave(patienceMs, backMs);
  }

  /** Takes its place again, when the agent did not end after all. */
  comeBack(): void {
    this.#departure.comeBack();
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#measuring.stop();
    this.#endWarmUp?.();
    this.#runWatch.stop();
    this.#homeDisk.stop();
    this.#workDisk.stop();
    this.#secrets.stop();
    this.#gitlabReturn.stop();
    this.#caches.stop();
    await this.hosting.stop();
    await this.runs.stop();
    await this.loop.stop();
  }

  /** Why no job could begin here; what its home's disk and its store say is `storeProblem`. */
  workProblems(): { diskProblem: string | null; gitlabProblem: string | null } {
    const url = this.ledger()?.gitlab.url;
    return { diskProblem: this.#workDisk.problem, gitlabProblem: gitlabProblem(this.#gitlabReturn, url) };
  }

  #makeMeasuring(): OwnMeasuring {
    const { machine, log, network, version } = this.#options;
    return new OwnMeasuring({
      ...{ machine, log },
      heard: (measured) => {
        this.loop.feed({ kind: 'measured', measured, addresses: network.addresses(), version });
        this.nextNews.wake();
      },
      lookAtStore: () => this.loop.lookAtStore(),
      lookAtGitlab: () => this.#gitlabReturn.look(),
    });
  }

  #makeRuns(): RunSupervisor {
    const { home, store, clock, executors, log, nodeId } = this.#options;
    return new RunSupervisor({
      self: nodeId,
      nodeName: this.#options.name,
      version: this.#options.version,
      gitlabReturn: this.#gitlabReturn,
      systemId: `r_${nodeId.slice(-12)}`,
      store: patientRecords({
        store,
        clock,
        isStopping: () => this.#isStopping,
        onRejected: () => {
          this.loop.lookAtStore();
          void this.#homeDisk.look();
        },
      }),
      executors,
      retired: (kind) => retiredExecutor(kind, nodeId, home),
      gitlabUrl: () => this.ledger()?.gitlab.url ?? null,
      seal: (text) => this.box.seal(text),
      unseal: (sealed) => this.box.unseal(sealed),
      instance: () => {
        const gitlab = this.ledger()?.gitlab;
        return { uuid: gitlab?.instance ?? null, epoch: gitlab?.epoch ?? 0 };
      },
      clock,
      leaderContactAt: () => runContactAt(this.loop.state),
      gpusByUuid: (uuids) => (this.measured?.capacity.gpus ?? []).filter((gpu) => uuids.includes(gpu.uuid)),
      limitsFor: (tags) => {
        const { cpuMillis, memoryBytes, isolation } = demandOf(tags, this.#defaultArch());
        return { cpuMillis, isolation, memoryBytes: jobMemory(tags, memoryBytes, this.measured) };
      },
      artifactLimitBytes: this.#options.artifactLimitBytes,
      cacheLimitBytes: this.#options.cacheLimitBytes,
      elsewhere: this.#caches,
      diskWasFull: (since) => [this.#homeDisk, this.#workDisk].some((disk) => disk.wasFullSince(since)),
      noRoom: () => this.#workDisk.problem,
      gpuSuspender: new CudaCheckpoint(),
      onGivenUp: (sentence) => void this.givenUp.push(sentence),
      watched: (...asked) => this.#runWatch.covers(...asked),
      onRunChanged: (run: Run) => this.loop.feed({ kind: 'run-changed', run }),
      log,
      home,
    });
  }

  #defaultArch(): string {
    return this.ledger()?.settings.defaultArch ?? 'amd64';
  }

  /** Measures now; without being asked it does so every two seconds. */
  measure(): Promise<void> {
    return this.#measuring.now();
  }

  #storeFailing(failing: boolean, because: string): void {
    if (failing && this.#storeProblem === null) this.#options.log.error(because);
    if (!failing) this.#options.log.info(because);
    this.#storeProblem = failing ? because : null;
    void this.measure();
  }
}
