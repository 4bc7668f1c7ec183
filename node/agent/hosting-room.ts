import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer } from '../../protocol/asks.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { Attention } from '../../protocol/status.ts';
import type { EffectOf } from '../../scheduler/effects.ts';
import { type Hosting, hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { whyNoPush } from '../../scheduler/two-sides.ts';
import { BootBeside } from '../hosting/beside/boot-beside.ts';
import { DockerClones } from '../hosting/clone/clone-engine.ts';
import { GitlabClones } from '../hosting/clone/gitlab-clones.ts';
import { DockerServiceHost } from '../hosting/docker-service-host.ts';
import { DrillMaster } from '../hosting/drill/drill-master.ts';
import { haveImage } from '../hosting/drill/have-image.ts';
import { endForwarder } from '../hosting/forward/forward-files.ts';
import type { Door } from '../hosting/gate/gate-files.ts';
import { GateKeeper } from '../hosting/gate/gate-keeper.ts';
import { GitlabKeeper } from '../hosting/gitlab-keeper.ts';
import type { GitlabLife } from '../hosting/gitlab-state.ts';
import { KeptVault } from '../hosting/keep/kept-vault.ts';
import { promisedRound } from '../hosting/move/promised-round.ts';
import type { TargetFitness } from '../hosting/move/target-fitness.ts';
import { openPlace, removePlace, roomForData } from '../hosting/place-making.ts';
import { GitlabProtector } from '../hosting/protect/gitlab-protector.ts';
import { forgetCopiesAt } from '../hosting/replica/copies-note.ts';
import type { RoundPromise } from '../hosting/replica/round-promise.ts';
import { bridgeOf } from '../hosting/service-container.ts';
import { doorsOf } from '../hosting/service-doors.ts';
import { systemTools } from '../hosting/system-tools.ts';
import { GitlabUpgrade } from '../hosting/upgrade/upgrade-host.ts';
import { GitlabVault } from '../hosting/vault/gitlab-vault.ts';
import type { GitDoor } from '../hosting/vault/project-push.ts';
import { openWithKey, type VaultKeys } from '../hosting/vault/vault-opening.ts';
import { peopleOfFile } from '../settings/people-file.ts';
import { AdoptRoom, isOfAdopting } from './adopt-room.ts';
import { leftLines } from './copies-left.ts';
import { CopiesRoom } from './copies-room.ts';
import { FencedRoom, isOfFenced } from './fenced-room.ts';
import { answered, reachedAt } from './hosting-answers.ts';
import { checkCopiesHere, checkDeploy, checkProtectHere } from './hosting-checks.ts';
import type { DoorAsk, Here, HostingAsk, Membership, VaultAsk } from './hosting-here.ts';
import { isOfMove, MoveRoom } from './move-room.ts';
import { ofUpgrade, ofVault } from './vault-answers.ts';
import { VaultKeepers } from './vault-keepers.ts';

/** ms that an agent which ends gives to what is under way. */
const stopMs = 3_000;
/** ms for a container to be killed and a place to be given back. */
const removedMs = 30_000;

/**
 * What this machine does of the mesh's own GitLab. Where the ledger names it, it runs it: leases from the core go to the gate,
 * what is seen goes back to the core. Where it is asked, it looks whether it could.
 */
export class HostingRoom {
  readonly #options: Here & Membership;
  readonly #host: DockerServiceHost;
  readonly #keeper: GitlabKeeper;
  readonly #vault: GitlabVault;
  readonly #copies: CopiesRoom;
  readonly #drills: DrillMaster;
  readonly #beside: BootBeside;
  readonly #upgrade: GitlabUpgrade;
  readonly #protector: GitlabProtector;
  readonly #keptVault: KeptVault;
  readonly #keepers: VaultKeepers;
  readonly #adopt: AdoptRoom;
  readonly #move: MoveRoom;
  readonly #fenced: FencedRoom;

  constructor(here: Here, membership: Membership) {
    this.#options = { ...here, ...membership };
    const { nodeId, home, clock, log, dockerHost } = here;
    const { ledger, change, box, feed } = membership;
    const host = new DockerServiceHost(dockerHost, clock);
    this.#host = host;
    const engine = new DockerClones(dockerHost, clock);
    const clones = new GitlabClones({ self: nodeId, host, engine, log });
    const isHosted = (data: string): boolean => this.#keeper.holds(data);
    this.#copies = new CopiesRoom({
      ...{ ...this.#options, clones, isHosted },
      besides: () => ({ ...this.#drills.seen(), ...this.#beside.seen(), ...this.#fenced.seen() }),
      whyNoPush: () => whyNoPush(this.#options.view(), ledger(), nodeId),
      endUse: () => this.#fenced.end(),
    });
    this.#beside = new BootBeside({
      ...{ self: nodeId, home, clock, log, ledger, clones, view: this.#options.view, wish: here.bootsBeside ?? 'auto' },
      drillable: () => this.#copies.drillable(),
      at: () => reachedAt(here.network),
    });
    this.#keptVault = new KeptVault({
      ...{ self: nodeId, home, clock, log, ledger, isAllowed: here.holdsCopies },
      open: (vault, folder) => openWithKey(folder, vault, this.#keys),
    });
    const { turns, limit } = this.#copies;
    const { local } = this.#keptVault;
    this.#keepers = new VaultKeepers({ self: nodeId, ledger, network: here.network, turns, limit, local });
    const meshToken = (): string | null => {
      const token = ledger()?.gitlab.token;
      return token && box.canOpen(token) ? box.unseal(token) : null;
    };
    this.#keeper = this.#keeperWith(host, meshToken);
    this.#drills = new DrillMaster({
      ...{ home, clock, log, clones, view: this.#options.view, isAllowed: here.hasDrills },
      mesh: () => this.#mesh,
      drillable: () => this.#copies.drillable(),
      releaseImage: (data) => engine.release(data),
      haveImage: (hosting, signal) => haveImage(hosting, { host, engine, log, signal }),
    });
    const api = (): GitDoor | null => apiOf(ledger(), box);
    this.#vault = new GitlabVault({
      ...{ ...this.#keys, clock, log, keeper: this.#keeper },
      ...{ holders: () => this.#copies.holders(), roundKeepers: () => this.#copies.roundKeepers() },
      api,
    });
    this.#fenced = new FencedRoom({
      ...{ nodeId, home, clock, log, ledger, api },
      ...{ copies: this.#copies, kept: () => this.#keeper.kept },
    });
    this.#protector = new GitlabProtector({
      ...{ ...this.#keys, clock, log, self: nodeId, dockerHost, host },
      report: (report) => feed({ kind: 'protected-seen', report }),
    });
    this.#adopt = new AdoptRoom(this.#options, host, (data) => this.#lifeOf(data));
    this.#upgrade = new GitlabUpgrade({
      tools: systemTools,
      ...{ clock, log, host, clones, ledger, change, meshToken, vault: this.#vault },
      keeper: this.#keeper,
    });
    this.#move = new MoveRoom({
      ...this.#options,
      host,
      copies: this.#copies,
      ...{ kept: () => this.#keeper.kept, busy: () => this.#busy() },
      cancel: (hosting, because) => this.#keeper.move.cancel(hosting, because),
      hasBooted: () => this.#beside.hasBooted,
    });
  }

  #keeperWith(host: DockerServiceHost, meshToken: () => string | null): GitlabKeeper {
    const { nodeId, home, clock, log, settingsFile, ledger, change, box, feed } = this.#options;
    return new GitlabKeeper({
      ...{ self: nodeId, home, clock, log, ledger, change },
      host,
      people: peopleOfFile(settingsFile),
      seal: (text) => box.seal(text),
      unseal: (sealed) => box.unseal(sealed),
      sealForVoters: (text) => box.sealForVoters(text),
      meshToken,
      openPlace: async (hosting, mayMake, mesh, isUnchecked = false) => {
        await this.#copies.freed(hosting);
        const create = mayMake ? roomForData(hosting) : null;
        return openPlace(hosting.place, { ...this.#ownerOf(hosting), mesh, create, isUnchecked });
      },
      removePlace: async (hosting) => {
        await removePlace(hosting.place, this.#ownerOf(hosting), { deleteData: true });
        forgetCopiesAt(home, hosting.data);
      },
      gateFor: (hosting) => this.#gateFor(hosting),
      tools: systemTools,
      besides: () => ({
        ...this.#vault.seen(),
        ...this.#copies.seen(),
        ...this.#drills.seen(),
        ...this.#upgrade.seen(),
        ...this.#fenced.seen(),
      }),
      copies: this.#copies,
      beside: this.#beside,
      move: {
        target: (to, hosting) => this.#move.ask(to, hosting),
        busy: () => this.#busy(),
      },
      mayServe: (data) => this.#adopt.mayServe(data),
      report: (report) => feed({ kind: 'gitlab-seen', report }),
      onGateClosed: (epoch) => feed({ kind: 'gate-closed', epoch }),
    });
  }

  /** What else this machine is at with GitLab that a move would cut off; null: nothing. */
  #busy(): string | null {
    const { kept } = this.#keeper;
    return this.#adopt.busy ?? (kept && this.#upgrade.busy(kept));
  }

  #lifeOf(data: string): GitlabLife | null {
    const { kept } = this.#keeper;
    return kept?.hosting.data === data ? kept.life : null;
  }

  holdLease({ epoch, until }: EffectOf<'hold-lease'>): void {
    this.#keeper.holdLease(epoch, until);
  }

  endLease({ epoch, because }: EffectOf<'end-lease'>): void {
    this.#keeper.endLease(epoch, because);
  }

  /** Also that it could not go on here is an answer (SAFETY H10). */
  findRound({ to, nonce, epoch, data }: EffectOf<'find-round'>): void {
    const { holdsCopies: isAllowed, network, feed } = this.#options;
    const promise = (): Promise<RoundPromise> => this.#copies.promise(data, epoch);
    const fitness = (withinMs: number): Promise<TargetFitness> => this.#move.fitness(withinMs);
    void promisedRound({ isAllowed, host: this.#host, fitness, at: () => reachedAt(network), promise }).then((told) =>
      feed({ kind: 'round-found', to, told: { kind: 'round-told', nonce, epoch, data, ...told } }),
    );
  }

  start(): void {
    this.#keeper.start();
    this.#vault.start();
    this.#drills.start();
    this.#beside.start();
    this.#upgrade.start();
    this.#protector.start();
    this.#adopt.start();
    this.#copies.start();
    this.#keptVault.start();
    this.#move.ledgerChanged();
  }

  /**
   * GitLab serves on until its lease is out, and stands still then until the next agent is here. What the keeper waits for of an
   * engine is not waited for: each step of it may be done again.
   */
  async stop(): Promise<void> {
    await Promise.race([
      Promise.all([
        this.#drills.stop(),
        this.#fenced.end(),
        this.#beside.stop(),
        this.#vault.stop(),
        this.#upgrade.stop(),
        this.#protector.stop(),
        this.#adopt.stop(),
        this.#move.stop(),
        this.#keeper.stop(),
        this.#copies.stop(),
        this.#keptVault.stop(),
      ]),
      sleep(stopMs, undefined, { ref: false }),
    ]);
  }

  /** The mesh has removed this machine. What takes longer is done by the next agent of this home. */
  async removed(): Promise<void> {
    this.#copies.removed();
    const keeper = Promise.race([this.#keeper.removed(), sleep(removedMs, undefined, { ref: false })]);
    await Promise.all([keeper, this.#adopt.removed(removedMs)]);
  }

  ledgerChanged(): void {
    // First: what was booted for this is kept, and nobody gives it up.
    this.#beside.ledgerChanged();
    this.#keeper.ledgerChanged();
    this.#copies.ledgerChanged();
    this.#move.ledgerChanged();
    this.#keptVault.ledgerChanged();
  }

  #hosts(): boolean {
    return hostingOf(this.#options.ledger())?.host === this.#options.nodeId;
  }

  /** What keeps it from being served from here, and what of a GitLab of before lies here. */
  attention(): Attention[] {
    const { home, ledger } = this.#options;
    const known = ledger();
    const left = known === null ? [] : leftLines(home, hostingOf(known));
    const notServed = this.#keeper.problems().map(notServedLine);
    return [...notServed, ...left, ...this.#keptVault.attention(), ...this.#adopt.attention()];
  }

  /** From the host of what this machine holds copies of, or whose backups it keeps. */
  openDoor(from: NodeId, ask: DoorAsk): Promise<Answer> {
    return ask.kind === 'open-copy-door' ? this.#copies.answer(from, ask) : this.#keptVault.answer(from, ask);
  }

  async answer(ask: HostingAsk): Promise<Answer> {
    if (ask.kind === 'check-deploy') return checkDeploy(ask.wish, { ...this.#options, mesh: this.#mesh });
    if (ask.kind === 'check-copies') return checkCopiesHere(ask, { ...this.#options, mesh: this.#mesh });
    if (ask.kind === 'drill-gitlab') return answered(() => this.#drills.ask(ask.data));
    if (isOfFenced(ask)) return answered(() => this.#fenced.answer(ask));
    if (isOfMove(ask)) return answered(() => this.#move.answer(ask));
    if (isOfAdopting(ask)) return answered(() => this.#adopt.answer(ask));
    if (ask.kind === 'check-protect') return checkProtectHere(ask, this.#options);
    if (!this.#hosts() && this.#protector.protects() && isOfVault(ask)) return ofVault(ask, this.#protector);
    if (!this.#hosts()) return { kind: 'refused', because: 'this machine does not run the GitLab of the mesh' };
    if (ask.kind === 'root-password') return { kind: 'root-password', password: this.#keeper.rootPassword(ask.seen) };
    if (ask.kind === 'check-upgrade' || ask.kind === 'rehearse-upgrade') {
      const { dockerHost, ledger } = this.#options;
      return ofUpgrade(ask, { dockerHost, ledger, keeper: this.#keeper, upgrade: this.#upgrade, vault: this.#vault });
    }
    if (ask.kind === 'new-password') return answered(() => this.#newPassword(ask.user));
    if (isOfVault(ask)) return ofVault(ask, this.#vault);
    this.#keeper.lookNow();
    return { kind: 'said', because: 'it is looked at now, and what was given up is tried again: autogit-node gitlab' };
  }

  async #newPassword(user: string): Promise<Answer> {
    const kept = this.#keeper.kept;
    if (kept === null) throw new AutogitError('gitlab-answer', 'GitLab is not begun here yet: autogit-node gitlab');
    return { kind: 'root-password', password: await kept.care.newPassword(user) };
  }

  /** What opens and seals the key of the backups here. */
  get #keys(): VaultKeys {
    const { home, ledger, change, box } = this.#options;
    return {
      ...{ home, ledger, change },
      canOpen: (sealed) => box.canOpen(sealed),
      unseal: (sealed) => box.unseal(sealed),
      sealForVoters: (text) => box.sealForVoters(text),
      keepers: this.#keepers,
    };
  }

  get #mesh(): string {
    return this.#options.ledger()?.mesh.id ?? '';
  }

  #ownerOf({ data, epoch }: Hosting): { mesh: string; data: string; epoch: number } {
    return { mesh: this.#mesh, data, epoch };
  }

  #gateFor(hosting: Hosting): GateKeeper {
    const { home, clock, log, watch, version, ledger, isStrict = false } = this.#options;
    const bridge = bridgeOf(hosting.data);
    const doors = (): Door[] => doorsOf(hosting, ledger(), this.#keys);
    const makeWay = (): Promise<void> => endForwarder(home);
    return new GateKeeper({
      home,
      clock,
      log,
      watch,
      version,
      doors,
      makeWay,
      isStrict,
      guard: { table: bridge, bridge },
    });
  }
}

function notServedLine(problem: string): Attention {
  const [sentence = '', fix = null] = problem.split('\n-> ');
  return { code: 'gitlab-not-served', severity: 'fail', sentence: `GitLab is not served from here: ${sentence}`, fix };
}

/** Where GitLab is, with the mesh's token for it; null while it has none, or this machine may not know it. */
function apiOf(ledger: Ledger | null, box: Membership['box']): GitDoor | null {
  const { url = null, token = null } = ledger?.gitlab ?? {};
  return url !== null && token !== null && box.canOpen(token) ? { url, token: box.unseal(token) } : null;
}

const isOfVault = (ask: HostingAsk): ask is VaultAsk =>
  (
    [
      'begin-vault',
      'backup-now',
      'backups',
      'compare-gitlab',
      'restore-gitlab',
      'restore-project',
    ] as HostingAsk['kind'][]
  ).includes(ask.kind);
