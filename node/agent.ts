import './polyfill.ts';
import type { Ledger } from '../protocol/ledger.ts';
import { LocalApi } from './agent/api.ts';
import { connectionErrors } from './agent/connection-errors.ts';
import { DeferredNetwork } from './agent/deferred-network.ts';
import { describeMachine, type MachineAndExecutors, machineOf, openExecutors } from './agent/describe-machine.ts';
import { makeRoomToStart } from './agent/disk-start.ts';
import { ExecutorHealth, jobNeeds } from './agent/executor-health.ts';
import { becomeMember } from './agent/joining.ts';
import { leaveSentence } from './agent/leave-words.ts';
import { type Neighbours, watchNeighbours } from './agent/lone-founder.ts';
import { Member } from './agent/member.ts';
import { networkLog, openMdnsDiscovery } from './agent/network-lines.ts';
import { withNews } from './agent/news.ts';
import { openNetwork, rememberPorts, startNetwork } from './agent/open-network.ts';
import { OwedRetries } from './agent/owed-retries.ts';
import { openNotices } from './agent/own-notices.ts';
import { ownPage } from './agent/own-page.ts';
import { undergoRemoval } from './agent/own-removal.ts';
import { OwnWebhook, webhookHere } from './agent/own-webhook.ts';
import { openPairWindow } from './agent/pair-window.ts';
import { PauseSwitch } from './agent/pause.ts';
import { watchRemoval } from './agent/removal-watch.ts';
import { leavePatienceMs, watchSleep } from './agent/sleep.ts';
import { checkMeshFlags, openNextStore } from './agent/switching.ts';
import { askForBoot, joinedLine, newcomerQuestions } from './agent/terminal.ts';
import { exit } from './cli/failure.ts';
import { type Clock, systemClock } from './clock.ts';
import { EnrolServer } from './enrol/enrol-server.ts';
import { serveSocket } from './local-api/unix-server.ts';
import type { Log } from './log.ts';
import { serviceOfAgent } from './machine/as-service.ts';
import type { LanNetwork } from './network/network.ts';
import type { Store } from './ports.ts';
import type { Progress } from './progress-lines.ts';
import { type Identity, loadIdentity } from './secrets/identity.ts';
import { readMeshKey } from './secrets/mesh-key.ts';
import type { JoinOptions } from './settings/settings.ts';
import { places } from './store/home.ts';
import { openStore } from './store/level-store.ts';
import type { Removal } from './store/removal.ts';
import { version } from './version.ts';

/** That the agent shall leave. */
const signals: NodeJS.Signals[] = ['SIGINT', 'SIGTERM'];
/** ms that the runs of an agent that leaves wait for it: most agents that end are started again (upgrade, restart). */
const backMs = 60_000;

interface End {
  code: number;
  error?: unknown;
  /** The same process goes on with another life: in another mesh. */
  goOn?: JoinOptions;
}

/** One life of the agent: `run` ends with an exit code, or with what the next one is to be. */
export class Agent {
  #options: JoinOptions;
  readonly #log: Log;
  readonly #news: ReturnType<typeof withNews>;
  readonly #lines: Progress;
  readonly #clock: Clock = systemClock();
  readonly #stopping = new AbortController();
  /** Called in reverse order at the end, whatever the end is. */
  readonly #closers: (() => Promise<void> | void)[] = [];
  #member: Member | null = null;
  /** What is told every committed ledger. */
  #ledgerReaders: readonly { onLedger(ledger: Ledger): void }[] = [];
  /** Set when the mesh has removed this machine. `wasIn`: this process had been in the mesh before. */
  removal: { wasIn: boolean } | null = null;
  #neighbours: Neighbours | null = null;
  #webhook: OwnWebhook | null = null;
  #api: LocalApi | null = null;
  #foundedAt: number | null = null;
  #enrolWords: { words: string | null; mesh: string | null } = { words: null, mesh: null };
  #end!: (end: End) => void;
  readonly #ended = new Promise<End>((resolve) => {
    this.#end = resolve;
  });

  /** The person wants the service instead of this process. */
  isWantedAtBoot = false;
  readonly #asksForBoot: boolean;

  constructor(options: JoinOptions, log: Log, lines: Progress, asksForBoot: boolean) {
    this.#asksForBoot = asksForBoot;
    this.#options = options;
    this.#news = withNews(log, lines, (said) => this.#api?.history.heard(said));
    this.#log = this.#news.log;
    this.#lines = lines;
  }

  /** Resolves with the exit code, or with what its next life is to be. */
  async run(): Promise<number | JoinOptions> {
    const asked = (): void => void this.#onSignal();
    for (const signal of signals) process.on(signal, asked);
    process.on('uncaughtException', this.#uncaught);
    try {
      const life = this.#live().catch((error: unknown) => this.#end({ code: 1, error }));
      const { code, error, goOn } = await this.#ended;
      this.#stopping.abort();
      await Promise.race([life, new Promise((resolve) => setTimeout(resolve, 500).unref())]);
      if (error !== undefined) throw error;
      return goOn ?? code;
    } finally {
      for (const close of this.#closers.reverse()) await close();
      for (const signal of signals) process.off(signal, asked);
      process.off('uncaughtException', this.#uncaught);
    }
  }

  /** The end of a connection may surface in libp2p where nobody can catch it (js-libp2p issue 3415): no reason to die. */
  readonly #uncaught = (error: Error): void => {
    if (connectionErrors.has(error.name))
      return this.#log.warn(`a connection ended where nobody listened: ${error.message}`);
    this.#end({ code: 70, error });
  };

  async #live(): Promise<void> {
    const { home } = this.#options;
    const discovery = this.#options.mdns ? await openMdnsDiscovery(networkLog(this.#log), this.#options.listen) : null;
    this.#closers.push(() => discovery?.stop());
    const identity = await loadIdentity(home);
    for (const warning of identity.warnings) this.#lines.warn('identity', warning);
    await makeRoomToStart(home, (sentence) => {
      this.#log.error(sentence);
      this.#lines.warn('disk', sentence);
    });
    const own = await openStore(places(home).store);
    this.#closers.push(() => own.close());
    const ledger = (await own.load()).accepted;
    // A machine that the mesh knows by a name keeps it, whatever its host is called by now.
    const name = this.#options.isNamed ? undefined : ledger?.nodes[identity.id]?.name;
    if (name !== undefined) this.#options = { ...this.#options, name };
    const leaving = this.#options.switch && ledger ? ledger.mesh.id : null;
    if (ledger && leaving === null) checkMeshFlags(this.#options, ledger.mesh, this.#lines);
    const store = leaving === null ? own : await openNextStore(this.#options, identity.id, own);
    if (store !== own) this.#closers.push(() => store.close());
    const because = `agent ${version} of ${identity.id} starts`;
    this.#log.event({ event: 'agent-started', because, fields: { version, node: identity.id } });
    const pause = new PauseSwitch(store, () => this.#clock.wallMs(), this.#options.ownerHours);
    await pause.load();
    const deferred = new DeferredNetwork();
    const wasMember = ledger !== null && leaving === null;
    if (wasMember) await this.#makeMember(identity, store, deferred, await this.#openMachine(identity, pause));
    const network = await openNetwork({
      privateKey: identity.privateKey,
      options: this.#options,
      store,
      discovery,
      log: this.#log,
      member: () => this.#member,
    });
    this.#closers.push(() => network.stop());
    const api = await this.#serveLocalApi(network, store, pause);
    if (!(await startNetwork(network, this.#options, this.#log))) return this.#end({ code: 0, goOn: this.#options });
    this.#closers.push(await api.page.open());
    if (leaving !== null) {
      await this.#becomeMember(network, store, identity.privateKey.raw, leaving);
      return this.#stopping.signal.aborted ? undefined : this.#startOver({ switch: false });
    }
    if (!wasMember) {
      // What the machine has to offer is found out while the LAN is asked for its mesh.
      const opening = this.#openMachine(identity, pause);
      opening.catch((error: unknown) => this.#end({ code: 1, error }));
      await this.#becomeMember(network, store, identity.privateKey.raw, null);
      if (this.#stopping.signal.aborted) return;
      await this.#makeMember(identity, store, deferred, await opening);
    }
    await this.#startMember(network, store, deferred, api);
  }

  /** Opens the executors and the machine. The first measurement may take half a second, so that nothing waits for it. */
  async #openMachine(identity: Identity, pause: PauseSwitch): Promise<MachineAndExecutors> {
    const executors = await openExecutors(this.#options, identity.id, this.#lines, this.#log, (run, sentence) =>
      this.#member?.runs.note(run, sentence),
    );
    const needs = jobNeeds(() => this.#member?.workProblems() ?? null);
    const health = await new ExecutorHealth(executors, this.#log, needs).begin();
    this.#closers.push(() => health.stop());
    const machine = machineOf(this.#options, executors, health, {
      clock: this.#clock,
      pause: () => pause.state(),
      member: () => this.#member,
    });
    machine.measure().then(
      (measured) => this.#lines.ok('machine', describeMachine(measured)),
      (error: unknown) => this.#end({ code: 1, error }),
    );
    return { machine, executors };
  }

  async #serveLocalApi(network: LanNetwork, store: Store, pause: PauseSwitch): Promise<LocalApi> {
    const api = new LocalApi({
      home: this.#options.home,
      network,
      pause,
      owed: new OwedRetries(store, (sentence) => this.#log.warn(sentence)),
      clock: this.#clock,
      member: () => this.#member,
      words: () => this.#enrolWords,
      // systemd starts again what ends by itself; what it is told to stop, and what a signal ends, it asks nobody about.
      leave: () => this.#leave(serviceOfAgent(this.#options.service)),
      giveWay: this.#options.giveWay,
      log: this.#log,
      others: () => this.#neighbours?.list() ?? [],
      webhook: () => this.#webhook,
    });
    api.page = ownPage(this.#options, { api, clock: this.#clock, network, log: this.#log });
    this.#api = api;
    const server = await serveSocket({ path: places(this.#options.home).socket, api, log: this.#log });
    this.#closers.push(() => server.close());
    return api;
  }

  async #becomeMember(network: LanNetwork, store: Store, seed: Uint8Array, leaving: string | null): Promise<void> {
    const how = await becomeMember({
      leaving,
      options: this.#options,
      network,
      store,
      seed,
      clock: this.#clock,
      lines: this.#lines,
      onWords: (words, mesh) => {
        this.#enrolWords = { words, mesh };
      },
      signal: this.#stopping.signal,
    });
    if (how === 'founded') this.#foundedAt = performance.now();
  }

  /** Ends this life; the next one begins without what was said of a mesh to join or found, but for `change`. */
  #startOver(change: Partial<JoinOptions>): void {
    this.#end({ code: 0, goOn: { ...this.#options, found: null, mesh: null, invite: null, pairMs: null, ...change } });
  }

  /** Makes the member that the store describes. Runs that were under way before a restart go on from here, without a network. */
  async #makeMember(
    identity: Identity,
    store: Store,
    network: DeferredNetwork,
    has: MachineAndExecutors,
  ): Promise<void> {
    const meshKey = await readMeshKey(store, identity.privateKey.raw);
    const member = new Member({
      ...this.#options,
      ...has,
      store,
      network,
      version,
      nodeId: identity.id,
      durable: await store.load(),
      meshKey,
      seed: identity.privateKey.raw,
      clock: this.#clock,
      log: this.#log,
      onLedger: (ledger) => {
        for (const reader of this.#ledgerReaders) reader.onLedger(ledger);
      },
      onEnd: (error) => this.#end({ code: 70, error }),
    });
    this.#closers.push(() => member.stop());
    await member.resume();
    this.#member = member;
  }

  /** The member begins to work with the others: network, enrolment of newcomers, the core's clock. */
  async #startMember(network: LanNetwork, store: Store, deferred: DeferredNetwork, api: LocalApi): Promise<void> {
    const member = this.#member;
    if (!member) return;
    const enrolServer = new EnrolServer({
      door: network.door,
      change: (change) => member.changes.ask(change),
      meshKey: () => member.box.meshKey,
      unseal: (sealed) => member.box.unseal(sealed),
      wallMs: () => this.#clock.wallMs(),
      log: networkLog(this.#log),
    });
    this.#closers.push(() => enrolServer.close());
    const questions = newcomerQuestions(this.#options, this.#lines, (change) => member.changes.ask(change));
    this.#closers.push(() => questions.close());
    const removalWatch = watchRemoval(network, member, this.#options.name, (removal, wasIn) => {
      void this.#removed(member, removal, wasIn);
    });
    this.#closers.push(() => removalWatch.stop());
    this.#neighbours = watchNeighbours({
      door: network.door,
      ledger: () => member.ledger(),
      options: this.#options,
      lines: this.#lines,
      foundedAt: this.#foundedAt,
      moveTo: ({ id }) => this.#startOver({ switch: true, mesh: id }),
      signal: this.#stopping.signal,
    });
    const webhook = new OwnWebhook(webhookHere(this.#options.webhook, member, network, store, this.#log));
    this.#webhook = webhook;
    const notices = openNotices(api, member, this.#clock, this.#log, this.#options.notify, network);
    this.#closers.push(webhook.stop.bind(webhook), notices.stop.bind(notices));
    this.#ledgerReaders = [enrolServer, questions, removalWatch, this.#neighbours, webhook, api.history, notices];
    deferred.fill(network);
    member.start();
    void api.givingWay.start();
    api.history.start();
    this.#closers.push(api.history.stop.bind(api.history), api.givingWay.stop.bind(api.givingWay));
    await rememberPorts(store, network);
    await this.#sayJoined(member);
    const sleep = { member, network, clock: this.#clock, log: this.#log, signal: this.#stopping.signal };
    this.#closers.push(watchSleep({ ...sleep, move: api.hosting.gitlabMove }));
  }

  /** The agent ends, and nothing of the mesh is kept. */
  async #removed(member: Member, removal: Removal, wasIn: boolean): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    this.removal = { wasIn };
    await undergoRemoval(member, removal, { home: this.#options.home, log: this.#log, lines: this.#lines, wasIn });
    this.#end({ code: exit.waiting });
  }

  /** Tells the person at the terminal which mesh this machine is in now, and asks what is to be asked at a start. */
  async #sayJoined(member: Member): Promise<void> {
    const { pairMs } = this.#options;
    if (pairMs !== null) this.#closers.push(await openPairWindow(member, pairMs, this.#clock, this.#lines));
    this.#api?.page.say(this.#lines);
    await joinedLine(member, this.#lines, this.#stopping.signal, this.#options);
    this.#news.begin();
    if (!this.#asksForBoot) return;
    void askForBoot(this.#options, () => member.ledger(), this.#stopping.signal).then((isWanted) => {
      if (!isWanted) return;
      this.isWantedAtBoot = true;
      void this.#leave();
    });
  }

  /** The first signal leaves cleanly, the second ends at once. */
  async #onSignal(): Promise<void> {
    if (this.#stopping.signal.aborted) process.exit(130);
    this.#lines.say(`${this.#member ? 'leaving the mesh' : 'ending'}; once more to end at once`);
    await this.#leave();
  }

  async #leave(startedBy: 'system' | 'user' | null = null): Promise<string> {
    const member = this.#member;
    const first = !this.#stopping.signal.aborted;
    this.#stopping.abort();
    const handedOver = member ? await member.leave(leavePatienceMs, backMs) : null;
    const running = member?.runs.runs().filter((run) => run.state === 'running').length ?? 0;
    const sentence = leaveSentence(handedOver, running, member?.hosting.hosts() === true, startedBy);
    this.#lines.say(sentence);
    // The answer of `leave` must still reach its caller.
    if (first) setTimeout(() => this.#end({ code: 0 }), 50);
    return sentence;
  }
}
