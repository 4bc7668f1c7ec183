import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer, Ask } from '../../protocol/asks.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { Attention } from '../../protocol/status.ts';
import type { EffectOf } from '../../scheduler/effects.ts';
import { type Hosting, hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import type { Happened } from '../../scheduler/inputs.ts';
import type { ViewInput } from '../../scheduler/snapshot-view.ts';
import type { Clock } from '../clock.ts';
import { DockerClones } from '../hosting/clone/clone-engine.ts';
import { GitlabClones } from '../hosting/clone/gitlab-clones.ts';
import { checkOf } from '../hosting/deploy-check.ts';
import { DockerServiceHost } from '../hosting/docker-service-host.ts';
import { DrillMaster } from '../hosting/drill/drill-master.ts';
import { haveImage } from '../hosting/drill/have-image.ts';
import { endForwarder } from '../hosting/forward/forward-files.ts';
import type { Door } from '../hosting/gate/gate-files.ts';
import { GateKeeper } from '../hosting/gate/gate-keeper.ts';
import { GitlabKeeper } from '../hosting/gitlab-keeper.ts';
import type { GitlabLife } from '../hosting/gitlab-state.ts';
import { KeptVault } from '../hosting/keep/kept-vault.ts';
import { openPlace, removePlace, roomForData } from '../hosting/place-making.ts';
import { presets } from '../hosting/presets.ts';
import { GitlabProtector } from '../hosting/protect/gitlab-protector.ts';
import { bridgeOf } from '../hosting/service-container.ts';
import { doorsOf } from '../hosting/service-doors.ts';
import { systemTools } from '../hosting/system-tools.ts';
import { GitlabUpgrade } from '../hosting/upgrade/upgrade-host.ts';
import { GitlabVault } from '../hosting/vault/gitlab-vault.ts';
import { openWithKey, type VaultKeys } from '../hosting/vault/vault-opening.ts';
import type { Log } from '../log.ts';
import type { SecretBox } from '../secrets/secret-box.ts';
import { peopleOfFile } from '../settings/people-file.ts';
import { type AdoptAsk, AdoptRoom, isOfAdopting } from './adopt-room.ts';
import { leftLines } from './copies-left.ts';
import { CopiesRoom } from './copies-room.ts';
import { answered, hostAddress, hostIpv6 } from './hosting-answers.ts';
import type { RunWatch } from './run-watch.ts';
import { VaultKeepers } from './vault-keepers.ts';

/** What a machine is. */
export interface Here {
  nodeId: NodeId;
  home: string;
  version: string;
  /** The engine that would run GitLab. */
  dockerHost: string | null;
  /** Where users and groups of GitLab stand. */
  settingsFile: string;
  /** False: its owner wants no copies on it of what another machine runs. */
  holdsCopies: boolean;
  /** False: its owner wants no drills on it. */
  hasDrills: boolean;
  copyRateBytes: number | null;
  clock: Clock;
  log: Log;
  /** Multiaddrs by which other machines reach it. */
  network: {
    addresses(): string[];
    ask(node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer>;
    addressOf(node: NodeId): string | null;
  };
}

/** What its member knows, and does for it. */
export interface Membership {
  watch: RunWatch;
  box: SecretBox;
  ledger(): Ledger | null;
  change(change: Change): Promise<ChangeOutcome>;
  feed(happened: Happened): void;
  view(): ViewInput;
}

type VaultAsk = Ask & {
  kind: 'begin-vault' | 'backup-now' | 'backups' | 'compare-gitlab' | 'restore-gitlab' | 'restore-project';
};
export type DoorAsk = Ask & { kind: 'open-copy-door' | 'open-vault-door' };
type UpgradeAsk = Ask & { kind: 'check-upgrade' | 'rehearse-upgrade' };
export type HostingAsk =
  | VaultAsk
  | UpgradeAsk
  | AdoptAsk
  | (Ask & {
      kind:
        | 'check-deploy'
        | 'check-copies'
        | 'check-protect'
        | 'look-at-gitlab'
        | 'root-password'
        | 'new-password'
        | 'drill-gitlab';
    });

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
  readonly #keeper: GitlabKeeper;
  readonly #vault: GitlabVault;
  readonly #copies: CopiesRoom;
  readonly #drills: DrillMaster;
  readonly #upgrade: GitlabUpgrade;
  readonly #protector: GitlabProtector;
  readonly #keptVault: KeptVault;
  readonly #keepers: VaultKeepers;
  readonly #adopt: AdoptRoom;

  constructor(here: Here, membership: Membership) {
    this.#options = { ...here, ...membership };
    const { nodeId, home, clock, log, dockerHost, settingsFile } = here;
    const { ledger, change, box, feed } = membership;
    const host = new DockerServiceHost(dockerHost, clock);
    const engine = new DockerClones(dockerHost, clock);
    const clones = new GitlabClones({ self: nodeId, host, engine, log });
    this.#copies = new CopiesRoom({ ...this.#options, clones, drills: () => this.#drills.seen() });
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
    this.#keeper = new GitlabKeeper({
      ...{ self: nodeId, home, clock, log, ledger, change },
      host,
      people: peopleOfFile(settingsFile),
      seal: (text) => box.seal(text),
      unseal: (sealed) => box.unseal(sealed),
      sealForVoters: (text) => box.sealForVoters(text),
      meshToken,
      openPlace: (hosting, mayMake, mesh, isUnchecked = false) => {
        const create = mayMake ? roomForData(hosting) : null;
        return openPlace(hosting.place, { ...this.#ownerOf(hosting), mesh, create, isUnchecked });
      },
      removePlace: (hosting) => removePlace(hosting.place, this.#ownerOf(hosting), { deleteData: true }),
      gateFor: (hosting) => this.#gateFor(hosting),
      tools: systemTools,
      besides: () => ({
        ...this.#vault.seen(),
        ...this.#copies.seen(),
        ...this.#drills.seen(),
        ...this.#upgrade.seen(),
      }),
      copies: this.#copies,
      mayServe: (data) => this.#adopt.mayServe(data),
      report: (report) => feed({ kind: 'gitlab-seen', report }),
      onGateClosed: (epoch) => feed({ kind: 'gate-closed', epoch }),
    });
    this.#drills = new DrillMaster({
      ...{ home, clock, log, clones, view: this.#options.view, isAllowed: here.hasDrills },
      mesh: () => this.#mesh,
      drillable: () => this.#copies.drillable(),
      releaseImage: (data) => engine.release(data),
      haveImage: (hosting, signal) => haveImage(hosting, { host, engine, log, signal }),
    });
    this.#vault = new GitlabVault({
      ...{ ...this.#keys, clock, log, keeper: this.#keeper },
      ...{ holders: () => this.#copies.holders(), roundKeepers: () => this.#copies.roundKeepers() },
      api: () => {
        const { url = null, token = null } = ledger()?.gitlab ?? {};
        return url !== null && token !== null && box.canOpen(token) ? { url, token: box.unseal(token) } : null;
      },
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

  start(): void {
    this.#keeper.start();
    this.#vault.start();
    this.#drills.start();
    this.#upgrade.start();
    this.#protector.start();
    this.#adopt.start();
    this.#copies.start();
    this.#keptVault.start();
  }

  /**
   * GitLab serves on until its lease is out, and stands still then until the next agent is here. What the keeper waits for of an
   * engine is not waited for: each step of it may be done again.
   */
  async stop(): Promise<void> {
    await Promise.race([
      Promise.all([
        this.#drills.stop(),
        this.#vault.stop(),
        this.#upgrade.stop(),
        this.#protector.stop(),
        this.#adopt.stop(),
        this.#keeper.stop(),
        this.#copies.stop(),
        this.#keptVault.stop(),
      ]),
      sleep(stopMs, undefined, { ref: false }),
    ]);
  }

  /** The mesh has removed this machine. What takes longer is done by the next agent of this home. */
  async removed(): Promise<void> {
    await Promise.race([
      Promise.all([this.#keeper.removed(), this.#adopt.removed()]),
      sleep(removedMs, undefined, { ref: false }),
    ]);
  }

  ledgerChanged(): void {
    this.#keeper.ledgerChanged();
    this.#copies.ledgerChanged();
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
    const notServed = this.#keeper.problems().map((problem): Attention => {
      const [sentence = '', fix = null] = problem.split('\n-> ');
      return {
        code: 'gitlab-not-served',
        severity: 'fail',
        sentence: `GitLab is not served from here: ${sentence}`,
        fix,
      };
    });
    return [...notServed, ...left, ...this.#keptVault.attention(), ...this.#adopt.attention()];
  }

  /** From the host of what this machine holds copies of, or whose backups it keeps. */
  openDoor(from: NodeId, ask: DoorAsk): Promise<Answer> {
    return ask.kind === 'open-copy-door' ? this.#copies.answer(from, ask) : this.#keptVault.answer(from, ask);
  }

  async answer(ask: HostingAsk): Promise<Answer> {
    if (ask.kind === 'check-deploy') return this.#check(ask.wish);
    if (ask.kind === 'check-copies') return this.#checkCopies(ask);
    if (ask.kind === 'drill-gitlab') return answered(() => this.#drills.ask(ask.data));
    if (isOfAdopting(ask)) return answered(() => this.#adopt.answer(ask));
    if (ask.kind === 'check-protect') return this.#checkProtect(ask);
    if (!this.#hosts() && this.#protector.protects() && isOfVault(ask)) return this.#ofVault(ask, this.#protector);
    if (!this.#hosts()) return { kind: 'refused', because: 'this machine does not run the GitLab of the mesh' };
    if (ask.kind === 'root-password') return { kind: 'root-password', password: this.#keeper.rootPassword(ask.seen) };
    if (ask.kind === 'check-upgrade' || ask.kind === 'rehearse-upgrade') return this.#ofUpgrade(ask);
    if (ask.kind === 'new-password') return answered(() => this.#newPassword(ask.user));
    if (isOfVault(ask)) return this.#ofVault(ask, this.#vault);
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

  #ofVault(ask: VaultAsk, vault: GitlabVault | GitlabProtector): Promise<Answer> {
    return answered(async () => {
      if (ask.kind === 'backups') return { kind: 'backups', ...(await vault.rows(ask.rounds)) };
      if (ask.kind === 'compare-gitlab') return { kind: 'compared', ...(await vault.compare(ask.with, ask.from)) };
      if (ask.kind === 'restore-project') return vault.restoreProject(ask.backup, ask.project);
      if (ask.kind === 'begin-vault') return vault.begin(ask);
      return ask.kind === 'backup-now' ? vault.backupNow() : vault.restore(ask.backup);
    });
  }

  #ofUpgrade(ask: UpgradeAsk): Promise<Answer> {
    const { dockerHost, ledger } = this.#options;
    const { kept } = this.#keeper;
    return answered(async () => {
      if (kept === null)
        throw new AutogitError('no-gitlab', 'this machine does not know yet of a GitLab that it hosts');
      if (ask.kind === 'rehearse-upgrade') return this.#upgrade.rehearse(ask.image);
      const { checkUpgrade } = await import('../hosting/upgrade/upgrade-facts.ts');
      return checkUpgrade(ask, {
        dockerHost,
        kept,
        ledger: ledger(),
        busy: this.#upgrade.busy(kept),
        vault: this.#vault.seen().vault ?? null,
      });
    });
  }

  async #checkProtect({ container }: Ask & { kind: 'check-protect' }): Promise<Answer> {
    const { home, dockerHost } = this.#options;
    const { checkProtect } = await import('./protect-check.ts');
    return checkProtect(container, { home, dockerHost });
  }

  /** Asked for once in a GitLab's life: what it needs is loaded then. */
  async #checkCopies(ask: Ask & { kind: 'check-copies' }): Promise<Answer> {
    const { home, holdsCopies } = this.#options;
    const { checkCopies } = await import('./copies-check.ts');
    const answer = checkCopies(ask, { home, mesh: this.#mesh, isRefused: !holdsCopies });
    const isFit = answer.kind === 'copies-checked' && answer.checks.every(({ state }) => state !== 'fail');
    if (!isFit || ask.door !== true) return answer;
    const { openTrialDoor } = await import('../hosting/wire/door-trial.ts');
    return { ...answer, door: await openTrialDoor() };
  }

  async #check(wish: (Ask & { kind: 'check-deploy' })['wish']): Promise<Answer> {
    const { home, dockerHost, network } = this.#options;
    const { leastMemoryBytes, leastDiskBytes } = presets[wish.preset];
    // Asked for once in a mesh's life: what it needs is loaded then.
    const { deployFacts } = await import('../hosting/deploy-facts.ts');
    const { preflight } = await import('../hosting/deploy-preflight.ts');
    const facts = await deployFacts(wish, { home, mesh: this.#mesh, dockerHost });
    const { checks, place } = preflight(facts, { ...wish, leastMemoryBytes, leastDiskBytes });
    return {
      kind: 'deploy-checked',
      checks: checks.map(({ state, what, sentence, fix }) => checkOf(state, what, sentence, fix)),
      place: place && { kind: place.kind, path: place.path, data: place.data },
      address: hostAddress(network.addresses()),
      ipv6: hostIpv6(network.addresses()),
    };
  }

  get #mesh(): string {
    return this.#options.ledger()?.mesh.id ?? '';
  }

  #ownerOf({ data, epoch }: Hosting): { mesh: string; data: string; epoch: number } {
    return { mesh: this.#mesh, data, epoch };
  }

  #gateFor(hosting: Hosting): GateKeeper {
    const { home, clock, log, watch, version, ledger } = this.#options;
    const bridge = bridgeOf(hosting.data);
    const doors = (): Door[] => doorsOf(hosting, ledger(), this.#keys);
    const makeWay = (): Promise<void> => endForwarder(home);
    return new GateKeeper({ home, clock, log, watch, version, doors, makeWay, guard: { table: bridge, bridge } });
  }
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
