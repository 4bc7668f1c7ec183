import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { asSentence } from '../../protocol/ids.ts';
import type { GitlabSeen, MoveSeen } from '../../protocol/report.ts';
import { isEpochAfter } from '../../scheduler/hosting/epochs.ts';
import type { Hosting } from '../../scheduler/hosting/hosted-edits.ts';
import { hostedUrl, hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { isCgroupFrozen } from '../executors/run-cgroup.ts';
import { shown } from '../foreign-text.ts';
import { redact } from '../log.ts';
import type { DataPlace } from './data-place.ts';
import { readCertificate } from './gate/gate-certificate.ts';
import { GitlabCare } from './gitlab-care.ts';
import { endsSoon, knownCertificate } from './gitlab-certificate.ts';
import { lookInside } from './gitlab-inside.ts';
import type { KeeperOptions } from './gitlab-keeper-options.ts';
import { whyNoGate } from './gitlab-rb-file.ts';
import { type GitlabLife, type GitlabLook, isUpSoon, newLife, pressureOf } from './gitlab-state.ts';
import type { HostingMemory } from './hosting-memory.ts';
import { KeptPlace } from './kept-place.ts';
import { LeaseAtGate } from './lease-at-gate.ts';
import { isEnding } from './mount-table.ts';
import { fencedNames } from './move/living-data.ts';
import { isOnTrial } from './move/move-steps.ts';
import { isAheadOf } from './other-services.ts';
import { treeOf } from './place-tree.ts';
import { dropHook } from './push/push-hook.ts';
import type { ServiceLook } from './service-host.ts';

const timings = {
  /** A GitLab that works is asked so often, one that does not so often, and one that should be up any moment. */
  askWellMs: 10_000,
  askIllMs: 2000,
  askSoonMs: 500,
  /** A boot of which nothing is known. */
  usualBootMs: 240_000,
  tendMs: 30_000,
} as const;

/** What is known of the one GitLab that this machine hosts, from the day on which the ledger says so. */
export class KeptGitlab {
  readonly hosting: Hosting;
  readonly mesh: string;
  readonly lease: LeaseAtGate;
  readonly care: GitlabCare;
  /** Ended when the ledger wants something else, and with the agent. */
  readonly given = new AbortController();
  readonly #options: KeeperOptions;
  readonly #memory: HostingMemory;
  #life: GitlabLife;
  #since: number;
  readonly #place: KeptPlace;
  /** The container's first process, once it was seen to have these folders. */
  #trustedPid: number | null = null;
  #tendedAtMs = Number.NEGATIVE_INFINITY;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #said = '';
  #warned = '';
  /** What of its gitlab.rb its gate has nothing behind it for. */
  #noGate: string | null = null;
  /** Of the last start, until the state machine has heard of it. */
  startFailed: string | null = null;
  /** All is gone that was to go; the ledger need only hear of it. */
  isTakenDown = false;
  /** How far a planned move from here is; null while there is none. */
  moving: MoveSeen | null = null;
  /** Why the engine cannot be asked; then nothing is known, and what the gate was told holds. */
  engineProblem: string | null = null;

  /** Its keeper looks at once. */
  readonly #lookNow: () => void;

  constructor(hosting: Hosting, mesh: string, options: KeeperOptions, memory: HostingMemory, lookNow: () => void) {
    this.hosting = hosting;
    this.mesh = mesh;
    this.#options = options;
    this.#memory = memory;
    this.#lookNow = lookNow;
    this.lease = new LeaseAtGate(hosting.epoch, options.gateFor(hosting), lookNow);
    this.care = new GitlabCare(options, memory);
    const isNew = () => this.#isNew;
    this.#place = new KeptPlace({ hosting, mesh, options, memory, isNew, say: (phase) => this.say(phase, null) });
    this.#life = newLife(!this.#isNew && !this.#isReplaced && !this.#place.isFirstHere);
    this.#since = options.clock.wallMs();
  }

  get life(): GitlabLife {
    return this.#life;
  }

  /** The ledger has no address of it yet. */
  get #isNew(): boolean {
    return this.#options.ledger()?.gitlab.url == null;
  }

  /** The ledger of this machine is the one that is behind: nothing is ended by it. */
  isAhead(): boolean {
    const ledger = this.#options.ledger();
    return ledger !== null && isAheadOf({ epoch: this.hosting.epoch, mesh: this.mesh }, ledger);
  }

  /** Other data, or another image: it has yet to come up in this epoch, however long it stood before. */
  get #isReplaced(): boolean {
    const { replacing } = this.#memory.read(this.hosting.data);
    if (replacing == null || replacing.hasServed === true) return false;
    return isEpochAfter(this.hosting.epoch, replacing.epoch, this.#options.ledger());
  }

  /** It may go back yet, so nobody is let in, and nothing of it is the mesh's. */
  get isOnTrial(): boolean {
    const now = hostingOf(this.#options.ledger());
    const isSame = now?.data === this.hosting.data && now.epoch === this.hosting.epoch;
    return isOnTrial(isSame ? now : this.hosting);
  }

  get mayRun(): boolean {
    return this.lease.until > this.#options.clock.bootMs();
  }

  become(life: GitlabLife): void {
    const before = this.#life;
    this.#life = life;
    if (!before.hasWorked && life.hasWorked) {
      this.#memory.write(this.hosting.data, { bootMs: before.bootMs });
      // Where it has moved to, the mesh is told that it stands before anybody is let in.
      if (this.isOnTrial) this.#lookNow();
    }
    if (life.condition === before.condition) return;
    this.#since = this.#options.clock.wallMs();
    const level = life.condition === 'healthy' ? 'info' : 'warn';
    this.#options.log[level](`GitLab is ${life.condition} (was ${before.condition}): ${life.because}`);
  }

  /** It was booted before this machine hosted: that is a part of its boot. */
  beganAt(startedAtMs: number): void {
    this.become({ ...this.#life, bootMs: Math.max(0, this.#options.clock.wallMs() - startedAtMs) });
    this.askSoon();
    this.#lookNow();
  }

  askSoon(): void {
    this.#askedAtMs = Number.NEGATIVE_INFINITY;
  }

  /** Open from then on (KeptPlace). */
  place(mayCreate: boolean): Promise<DataPlace> {
    return this.#place.opened(mayCreate);
  }

  /** It goes on here, and nothing of it is here yet (KeptPlace). */
  prepare(): void {
    if (this.isOnTrial) this.#place.prepare();
  }

  /** Whatever state its data are in. */
  placeAsItIs(): Promise<DataPlace> {
    return this.#place.asItIs();
  }

  /** No round is taken of data that are about to change places. */
  endCopies(): Promise<void> {
    return this.#place.endCopies();
  }

  /** As GitLab said it itself; null before it ever worked here. */
  get version(): string | null {
    return this.#memory.read(this.hosting.data).version;
  }

  /**
   * Why a running container is not this GitLab: it was begun by an agent that died before it looked into it, or by hand, and has other
   * folders. Null where it has ours, or where ours cannot be opened to compare.
   */
  async strangeness(id: string, pid: number): Promise<string | null> {
    if (this.#trustedPid === pid) return null;
    const place = await this.place(false).catch(() => null);
    try {
      place?.checkInside(pid);
      if (place !== null) this.#trustedPid = pid;
      return null;
    } catch (error) {
      const isStill = !isEnding(pid) && (await this.#options.host.look(id))?.pid === pid;
      if (isStill && error instanceof AutogitError && error.code === 'data-place') return error.message;
      return null;
    }
  }

  letPlaceGo(): Promise<void> {
    return this.#place.letGo();
  }

  /** Also one that an agent of before had opened. */
  async closePlace(): Promise<void> {
    await this.#place.close();
    dropHook(this.#options.home);
  }

  /** What a look found, GitLab's function included when it is its turn. Throws `no-docker`. */
  async seen(id: string, look: ServiceLook | null): Promise<GitlabLook> {
    const { clock } = this.#options;
    // An agent that has just begun has no lease yet: what it finds is looked at, and not called idle.
    const isBeginning = look?.isRunning === true && !this.lease.isKnown;
    const problem = look?.isRunning && (this.mayRun || isBeginning) ? await this.#problem(id, look) : undefined;
    const { startFailed } = this;
    this.startFailed = null;
    const rooms = { freeBytes: look?.isRunning ? await this.#tend() : null, memory: look?.memory ?? null };
    return {
      nowMs: clock.bootMs(),
      container: look === null ? 'absent' : look.isRunning ? 'running' : 'ended',
      ended: look === null || look.isRunning ? '' : await howEnded(this.#options.host, id, look),
      isFrozen: isFrozen(look),
      ageMs: look === null ? 0 : Math.max(0, clock.wallMs() - look.startedAtMs),
      ...(problem !== undefined && { problem }),
      pressure:
        pressureOf({ ...rooms, fenced: () => fencedNames(treeOf(this.hosting.place))[0] }) ??
        this.#noGate ??
        this.care.problem,
      mayRun: this.mayRun || isBeginning,
      ...(startFailed !== null && { startFailed }),
    };
  }

  async #problem(id: string, look: ServiceLook): Promise<string | null | undefined> {
    const nowMs = this.#options.clock.bootMs();
    const illMs = this.isUpSoon ? timings.askSoonMs : timings.askIllMs;
    const everyMs = this.#life.condition === 'healthy' ? timings.askWellMs : illMs;
    if (isFrozen(look) || nowMs - this.#askedAtMs < everyMs) return undefined;
    this.#askedAtMs = nowMs;
    const { problem, tellsClient } = await lookInside(this.#options.host, id).catch((error: unknown) => {
      if (error instanceof AutogitError && error.code === 'no-docker') throw error;
      return { problem: sentenceOf(error), tellsClient: null };
    });
    // Frozen while it was asked: that is no answer.
    if (isFrozen(look)) return undefined;
    // Also of one that is not well: whoever comes is let through to it.
    if (tellsClient !== null && tellsClient !== this.#tellsClient)
      this.#memory.write(this.hosting.data, { tellsClient });
    this.#noGate = this.#place.now && (await whyNoGate(this.#place.now.folders.config, this.#url));
    return problem === null || this.#noGate === null ? problem : `${problem}; ${this.#noGate}`;
  }

  get #url(): string {
    return hostedUrl(this.hosting);
  }

  /** As the container's nginx was seen to be: one that an agent of before made does not know of it, and goes on until it is made anew. */
  get #tellsClient(): boolean {
    return this.#memory.read(this.hosting.data).tellsClient ?? false;
  }

  /** Programs begun in a container that stands still stand still too, and an engine waits for them with all else that it is asked. */
  tendInside(id: string, look: ServiceLook | null): void {
    if (this.mayRun && !this.isOnTrial && look?.isRunning && !isFrozen(look))
      this.care.tend(this.hosting, id, look.pid);
  }

  /** Free bytes. The room of a container that an agent of before began is looked after all the same. */
  async #tend(): Promise<number | null> {
    try {
      const place = await this.place(false);
      const now = this.#options.clock.bootMs();
      if (now - this.#tendedAtMs >= timings.tendMs) {
        this.#tendedAtMs = now;
        this.#warn((await place.tend()).join('; '));
      }
      return place.freeBytes();
    } catch (error) {
      this.#warn(`GitLab's data place cannot be looked at: ${sentenceOf(error)}`);
      return null;
    }
  }

  /** Once each. */
  #warn(sentence: string): void {
    if (sentence !== '' && sentence !== this.#warned) this.#options.log.warn(sentence);
    this.#warned = sentence;
  }

  bootProgress(look: ServiceLook | null): GitlabSeen['progress'] {
    const { hasWorked, bootMs } = this.#life;
    if (hasWorked || !look?.isRunning) return null;
    return { phase: 'boots', percent: Math.min(95, Math.floor((bootMs / Math.max(this.usualBootMs, 1)) * 100)) };
  }

  /** By the last one, where there was one here. */
  get usualBootMs(): number {
    return this.#memory.read(this.hosting.data).bootMs ?? timings.usualBootMs;
  }

  get isUpSoon(): boolean {
    return this.mayRun && isUpSoon(this.#life, this.usualBootMs);
  }

  /** What whoever comes to the doors gets, or reads. */
  tellGate(look: ServiceLook | null, isServing: boolean): void {
    const because = `GitLab on this machine: ${this.#life.because}`.slice(0, 400);
    const [upstream, cgroup, tellsClient] = [look?.address ?? null, look?.cgroup ?? null, this.#tellsClient];
    const isLetIn = isServing && !this.isOnTrial && (this.#options.mayServe?.(this.hosting.data) ?? true);
    // Before anybody is: what is served from here on is never given up as nobody's.
    if (isLetIn && this.#memory.read(this.hosting.data).isUnserved)
      this.#memory.write(this.hosting.data, { isUnserved: false });
    this.lease.tell({ upstream, isServing: isLetIn, because, cgroup, tellsClient });
  }

  /** A step that may take long, while there is no container. */
  say(phase: string, percent: number | null): void {
    if (!this.report({ phase, percent })) return;
    const because = `GitLab is prepared on this machine: ${phase}${percent === null ? '' : ` (${percent} %)`}`;
    const rest = { because: because.slice(0, 400), cgroup: null, tellsClient: false };
    this.lease.tell({ upstream: null, isServing: false, ...rest });
  }

  /** To the mesh, when it says something new. */
  report(progress: GitlabSeen['progress']): boolean {
    const { condition, hasWorked, because } = this.#life;
    const { data, epoch } = this.hosting;
    const isSettingUp = hasWorked && this.#isNew;
    const isBlind = this.engineProblem !== null && condition === 'healthy';
    const cause = this.engineProblem ?? (isSettingUp ? this.care.token.problem : null) ?? this.lease.problem ?? because;
    const seen: GitlabSeen = {
      data,
      epoch,
      state: isSettingUp ? 'deploying' : isBlind ? 'degraded' : condition,
      because: asSentence(cause),
      since: this.#since,
      version: this.#memory.read(data).version,
      progress: isSettingUp ? { phase: 'makes its admin token', percent: null } : progress,
      ...(this.moving !== null && { move: this.moving }),
      ...this.care.seen(),
      ...(this.hosting.https && certificateSeen(this.#options)),
      ...this.#options.besides?.(),
    };
    const said = JSON.stringify(seen);
    if (said === this.#said) return false;
    this.#said = said;
    this.#options.report(seen);
    return true;
  }
}

/** GitLab's image says why it refuses: data of another version, a configuration that it cannot read. */
async function howEnded(
  host: Pick<KeeperOptions['host'], 'lastWords'>,
  id: string,
  { isOutOfMemory, exitCode }: ServiceLook,
): Promise<string> {
  if (isOutOfMemory) return 'out of memory';
  if (exitCode === 0 || exitCode > 128) return `exit code ${exitCode}`;
  const said = (await host.lastWords(id, 5)).trim().split('\n').at(-1) ?? '';
  return `exit code ${exitCode}${said === '' ? '' : `, "${redact(shown(said)).slice(0, 300)}"`}`;
}

function certificateSeen({ home, clock }: Pick<KeeperOptions, 'home' | 'clock'>): Pick<GitlabSeen, 'certificate'> {
  const pem = readCertificate(home);
  const said = endsSoon(pem === null ? null : knownCertificate(pem), clock.wallMs());
  return said === null ? {} : { certificate: asSentence(said) };
}

const isFrozen = (look: ServiceLook | null): boolean =>
  look !== null && (look.isPaused || (look.cgroup !== null && isCgroupFrozen(look.cgroup)));
