import { setTimeout as sleep } from 'node:timers/promises';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { type Hosting, hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { thawIfFrozen } from '../executors/run-cgroup.ts';
import { dropCertificate } from './gate/gate-certificate.ts';
import { bringUp, LeaseGone } from './gitlab-bring-up.ts';
import type { KeeperOptions } from './gitlab-keeper-options.ts';
import { type GitlabLife, nextLife, unflagged } from './gitlab-state.ts';
import { HostingMemory } from './hosting-memory.ts';
import { KeptGitlab } from './kept-gitlab.ts';
import { GitlabMove } from './move/gitlab-move.ts';
import { endOthers, givenUpWords, othersAmong } from './other-services.ts';
import type { FoundService, ServiceHost, ServiceLook } from './service-host.ts';
import { DataReplacing } from './vault/data-replacing.ts';
import { withFix } from './with-fix.ts';

const timings = {
  lookMs: 1000,
  /** It should be up any moment. */
  lookSoonMs: 300,
  /** Services get so long to end, where there is time. */
  graceMs: 60_000,
} as const;

/**
 * Keeps the mesh's GitLab on this machine as the ledger wants it: looks once a second, asks the function and not the lamp,
 * and does what the state machine says. All by one loop, so no two acts meet. Nothing that fails here ends the agent.
 */
export class GitlabKeeper {
  readonly #options: KeeperOptions;
  readonly #memory: HostingMemory;
  readonly #replacing: DataReplacing;
  readonly move: GitlabMove;
  #kept: KeptGitlab | null = null;
  #wake = new AbortController();
  #isStopped = false;
  /** The mesh has removed this machine: called once nothing of its GitLab is left here. */
  #onGivenUp: (() => void) | null = null;
  #loop: Promise<void> = Promise.resolve();
  #problem: string | null = null;
  /** Epochs that are over, and why, until the gate has read it. */
  readonly #over = new Map<number, string>();

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#memory = new HostingMemory(options.home, options.log);
    const hands = { options, memory: this.#memory, endGently: (id: string) => endGently(options.host, id) };
    this.#replacing = new DataReplacing(hands);
    this.move = new GitlabMove({ ...hands, endAtOnce: (id) => endAtOnce(options, id) });
  }

  start(): void {
    this.#loop = this.#run();
  }

  /** The agent ends; GitLab goes on until its lease is out. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#kept?.given.abort();
    this.#wake.abort();
    await this.#loop;
    await this.#kept?.letPlaceGo();
  }

  /** The core's effect: a lease of that epoch was given, until that boot time. */
  holdLease(epoch: number, until: number): void {
    this.#kept?.lease.hold(epoch, until);
  }

  /** The core's effect: that epoch is over here. A gate that an agent of before has left may still serve it: it is told. */
  endLease(epoch: number, because: string): void {
    this.#over.set(epoch, because);
    const kept = this.#kept;
    if (kept?.hosting.epoch === epoch) void this.#closeOver(kept).catch(() => undefined);
    this.#wake.abort();
  }

  /** What fails is tried again at the next turn. */
  async #closeOver(kept: KeptGitlab | null): Promise<void> {
    for (const [epoch, because] of this.#over) {
      if (kept?.hosting.epoch === epoch) await kept.lease.close(because);
      this.#over.delete(epoch);
      this.#options.onGateClosed(epoch);
    }
  }

  /** The ledger has changed: it is looked at now, and what it does not want any more is given up. */
  ledgerChanged(): void {
    const kept = this.#kept;
    if (kept && !isSame(kept.hosting, this.#mine()) && !kept.isAhead()) kept.given.abort();
    this.#wake.abort();
  }

  /**
   * The mesh has removed this machine, and its ledger here may not say so: gate shut, container gone, place given back, its data
   * stay. Resolves then, after as many tries as it takes; the next agent of this home goes on where this one ended.
   */
  removed(): Promise<void> {
    return new Promise((done) => {
      this.#onGivenUp = done;
      this.#kept?.given.abort();
      this.#wake.abort();
    });
  }

  /** A person asks: now, and what was given up is tried again. */
  lookNow(): void {
    const kept = this.#kept;
    kept?.become(unflagged(kept.life));
    kept?.care.soon();
    kept?.askSoon();
    this.#wake.abort();
  }

  /** The one that this machine hosts; null where it hosts none, or does not know it yet. */
  get kept(): KeptGitlab | null {
    return this.#kept;
  }

  /** Its place is in the keeper's hands, or shall be: nobody else opens it. */
  holds(data: string): boolean {
    return this.#kept?.hosting.data === data || this.#memory.mayHold(data);
  }

  /** Other data in the place of GitLab's, as a restore has them ready. */
  get replacing(): Pick<DataReplacing, 'ask' | 'current' | 'isUnderWay' | 'outcome'> {
    return this.#replacing;
  }

  /** What keeps GitLab from being served here, as sentences with what to do. */
  problems(): string[] {
    const problems = this.#kept?.lease.problems() ?? [];
    return this.#problem === null ? problems : [this.#problem, ...problems];
  }

  /**
   * Root's password as GitLab made it up; null when nobody needs to be told any more. An answer may be lost on its way, so it is
   * forgotten only when somebody says what was `seen`.
   */
  rootPassword(seen?: string): string | null {
    const data = this.#kept?.hosting.data;
    return data === undefined ? null : this.#memory.rootPassword(data, this.#options.unseal, seen);
  }

  #mine(): Hosting | null {
    const hosting = this.#onGivenUp === null ? hostingOf(this.#options.ledger()) : null;
    return hosting?.host === this.#options.self ? hosting : null;
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      this.#wake = new AbortController();
      try {
        await this.#turn();
        this.#fails(null);
        this.#onGivenUp?.();
      } catch (error) {
        this.#fails(sentenceOf(error));
        await this.move.blind(this.#kept, this.#mine(), sentenceOf(error));
      }
      await sleep(this.#kept?.isUpSoon ? timings.lookSoonMs : timings.lookMs, undefined, {
        signal: this.#wake.signal,
      }).catch(() => undefined);
    }
  }

  /** An engine that is away is not GitLab's death: what was told to the gate holds. */
  #fails(problem: string | null): void {
    if (problem === this.#problem || this.#isStopped) return;
    this.#problem = problem;
    if (problem === null) this.#options.log.info('GitLab is looked after again');
    else this.#options.log.warn(`GitLab cannot be looked after: ${problem}`);
    if (this.#kept === null) return;
    this.#kept.engineProblem = problem;
    this.#kept.report(null);
  }

  async #turn(): Promise<void> {
    const { ledger: read, host, log } = this.#options;
    const ledger = read();
    if (ledger === null) return;
    const mine = this.#mine();
    this.#kept ??= this.#remembered(ledger.mesh.id);
    await this.#closeOver(this.#kept);
    // A machine that never hosted has nothing to do with an engine.
    if (mine === null && this.#kept === null && !this.#memory.isThere) return;
    if (this.#kept !== null && !isSame(this.#kept.hosting, mine)) {
      if (this.#onGivenUp === null && this.#kept.isAhead()) return;
      await this.#giveUp(this.#kept);
    }
    const found = await host.find(ledger.mesh.id);
    const right = this.#onGivenUp === null ? hostingOf(ledger) : null;
    await endOthers(host, othersAmong(found, right, ledger.gitlab.epoch), log);
    if (mine === null) return this.#memory.forget();
    if (this.#kept === null) {
      this.#memory.write(mine.data, { hosting: mine, mesh: ledger.mesh.id, isUnserved: false });
      this.#kept = this.#keep(mine, ledger.mesh.id);
    }
    const own = found.find((one) => isSame(one, mine) && one.host === mine.host) ?? null;
    if (own === null && mine.move?.unplanned?.failed === undefined) this.#kept.prepare();
    if (mine.ending?.drained) await this.#takeDown(this.#kept, mine, own);
    else if (await this.#replacing.turn(this.#kept, own)) return;
    else if (!(await this.move.turn(this.#kept, mine, own))) await this.#lookAfter(this.#kept, own);
  }

  #keep(hosting: Hosting, mesh: string): KeptGitlab {
    return new KeptGitlab(hosting, mesh, this.#options, this.#memory, () => this.#wake.abort());
  }

  /** What an agent of before hosted here: the ledger may want it still, or it has to be ended. */
  #remembered(mesh: string): KeptGitlab | null {
    const hosting = this.#memory.hosting();
    return hosting && this.#keep(hosting, this.#memory.mesh() ?? mesh);
  }

  /**
   * The ledger has another one, or none here: gate shut, container killed, place given back; its data stay. What was known of it is
   * forgotten, or the same data in a later epoch would be taken for a GitLab that has worked in it.
   */
  async #giveUp(kept: KeptGitlab): Promise<void> {
    const { host, log, onGateClosed, report } = this.#options;
    const { hosting, mesh, lease, given } = kept;
    given.abort();
    if (!kept.isTakenDown) {
      await lease.close('GitLab is not hosted on this machine any more');
      onGateClosed(hosting.epoch);
      const own = (await host.find(mesh)).filter((one) => isSame(one, hosting));
      await endOthers(host, own, log);
      // Made beforehand, of one that never began.
      if (own.length === 0) await host.dropNetwork(hosting.data);
      await lease.end();
      // The ledger may have taken what replaced them: then they are those of its next epoch.
      if (this.#mine()?.data !== hosting.data) await this.#replacing.leave(kept);
      await kept.closePlace();
      if (this.#mine() === null) dropCertificate(this.#options.home);
      log.warn(givenUpWords(hosting, this.#options.ledger()));
    }
    // Of data that were put in its place: how far that is has to be known in the next epoch.
    if (this.#memory.read(hosting.data).replacing == null) this.#memory.forget(hosting.place.path);
    this.#kept = null;
    report(null);
  }

  async #lookAfter(kept: KeptGitlab, own: FoundService | null): Promise<void> {
    const look = own === null ? null : await this.#lookAt(kept, own.id);
    const before = kept.life;
    const { life, act } = nextLife(
      before,
      await this.#replacing.judged(kept, own?.id ?? '', await kept.seen(own?.id ?? '', look)),
    );
    kept.become(life);
    kept.tellGate(look, life.hasWorked && act === 'none');
    kept.report(kept.bootProgress(look));
    if (act !== 'none') await this.#start(kept, before, act === 'restart' ? own : null);
    else if (life.hasWorked && own !== null) kept.tendInside(own.id, look);
  }

  /** What has other folders than ours is an empty GitLab over the old one, whoever began it: it is killed before anything passes. */
  async #lookAt(kept: KeptGitlab, id: string): Promise<ServiceLook | null> {
    const { host, log } = this.#options;
    const look = await host.look(id);
    const strange = look === null || look.pid === null ? null : await kept.strangeness(id, look.pid);
    if (strange === null) return look;
    log.warn(`GitLab's container is killed: ${strange}`);
    kept.tellGate(null, false);
    await host.kill(id);
    kept.startFailed = strange;
    return host.look(id);
  }

  async #start(kept: KeptGitlab, before: GitlabLife, old: FoundService | null): Promise<void> {
    const { host, self, log, ledger } = this.#options;
    const { hosting, given } = kept;
    const say = (phase: string, percent: number | null): void => kept.say(phase, percent);
    const requireLease = (): void => {
      if (!kept.mayRun || given.signal.aborted) throw new LeaseGone('there is no lease any more');
    };
    log.info(`GitLab is started: ${kept.life.because}`);
    try {
      requireLease();
      if (old !== null) {
        kept.report({ phase: 'ends what is left of it', percent: null });
        await host.stop(old.id, timings.graceMs);
        await host.remove(old.id);
      }
      const key = { mesh: ledger()?.mesh.id ?? '', host: self, data: hosting.data, epoch: hosting.epoch };
      const place = () => kept.place(true);
      const { beside, home } = this.#options;
      const startedAtMs = await bringUp({
        ...{ beside, host, key, home, hosted: hosting, place, requireLease, say, signal: given.signal },
      });
      if (startedAtMs !== null) kept.beganAt(startedAtMs);
    } catch (error) {
      // Neither is a fault of GitLab's: it is begun again when there is a lease, and an engine.
      const isAway = error instanceof AutogitError && error.code === 'no-docker';
      const isGivenUp = error instanceof LeaseGone || given.signal.aborted;
      if (isAway || isGivenUp) kept.become(before);
      if (isGivenUp) return;
      if (isAway) throw error;
      kept.startFailed = withFix(error);
      log.warn(`GitLab could not be started: ${kept.startFailed}`);
    }
  }

  /** Uninstalled: its runners and jobs are settled. What of it fails is tried again at the next look. */
  async #takeDown(kept: KeptGitlab, mine: Hosting, own: FoundService | null): Promise<void> {
    const { host, removePlace, change, onGateClosed, log } = this.#options;
    const { data, epoch, ending, place } = mine;
    kept.given.abort();
    if (!kept.isTakenDown) {
      kept.report({ phase: 'is taken down', percent: null });
      await kept.lease.close('GitLab is being uninstalled');
      onGateClosed(epoch);
      if (own !== null) await endGently(host, own.id);
      await kept.lease.end();
      if (!ending?.deleteData) await this.#replacing.leave(kept);
      await kept.closePlace();
      if (ending?.deleteData) await removePlace(mine);
      this.#memory.forget(ending?.deleteData ? null : place.path);
      dropCertificate(this.#options.home);
      kept.isTakenDown = true;
      log.info(`GitLab was taken down; its data ${ending?.deleteData ? 'are deleted' : `stay in ${place.path}`}`);
    }
    const { state, because } = await change({ kind: 'gitlab-ended', data, epoch });
    if (state !== 'done') log.warn(`the mesh does not take it that GitLab is gone: ${because}`);
  }
}

/** The closed gate froze it: nobody can reach it any more, so it may go on to its own end. */
async function endGently(host: ServiceHost, id: string): Promise<void> {
  const group = (await host.look(id))?.cgroup ?? null;
  const thawing = setInterval(() => thawIfFrozen(group), 100);
  try {
    await host.stop(id, timings.graceMs);
  } finally {
    clearInterval(thawing);
  }
  await host.remove(id);
}

/**
 * Nobody is served, so each second of an end would be one without GitLab. What it has written is on the disk or on its way there, as after a
 * power cut of which nothing was lost. What does not go is looked for again where GitLab is given up here.
 */
async function endAtOnce(
  { host, log }: Pick<KeeperOptions, 'host' | 'log'>,
  id: string,
): Promise<{ done: Promise<void> }> {
  await host.kill(id);
  const failed = (error: unknown): void => log.info(`GitLab's container is removed later: ${sentenceOf(error)}`);
  return { done: host.remove(id).catch(failed) };
}

const isSame = (one: { data: string; epoch: number } | null, other: { data: string; epoch: number } | null): boolean =>
  one !== null && other !== null && one.data === other.data && one.epoch === other.epoch;
