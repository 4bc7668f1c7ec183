import { existsSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { sentenceOf } from '../../../protocol/errors.ts';
import { hostingTimings } from '../../../scheduler/hosting/hosting-timings.ts';
import type { RunWatch } from '../../agent/run-watch.ts';
import type { Clock } from '../../clock.ts';
import { gateUser } from '../../executors/run-uids.ts';
import type { Log } from '../../log.ts';
import { asRootService } from '../../machine/as-service.ts';
import { endSidePrograms } from '../../watchdog/side-ending.ts';
import { hasSidePrograms, ownProgram, startSideProgram } from '../../watchdog/side-program.ts';
import { isRecord, readTold } from '../../watchdog/told-file.ts';
import {
  type Door,
  doorWord,
  gateFolder,
  gateLog,
  gateNow,
  livingGates,
  makeGateFolder,
  problemFileIn,
  seenBy,
  setAside,
} from './gate-files.ts';
import { dropGuard, type Guard, isGuarded, MissingNft, othersOfUser, setGuard } from './gate-guard.ts';
import { type GateLease, longestBecause, readLease, writeLease } from './gate-lease.ts';
import { readMemberSecret, writeMemberSecret } from './member-door.ts';

const limits = {
  /** A gate that starts binds its doors within this time, or is tried again. */
  startMs: 10_000,
  /** What failed is not tried again at each renewal. */
  againMs: 3000,
  /** A guard that somebody flushed is back after this time: to look takes a process. */
  guardEveryMs: 2000,
  /** To look who else has the gate's number reads all processes. */
  userEveryMs: 60_000,
  /** A gate that does not say that it listens no more is stopped or hangs: nothing passes through it. */
  retireMs: 2000,
  lookMs: 10,
} as const;

export interface HostedLease {
  epoch: number;
  /** ms of boot time until which GitLab may be served from here (SAFETY H5: h0 + L). */
  until: number;
  /** Where the container answers, an address of its own network; null while there is none. */
  upstream: string | null;
  /** A function of GitLab was seen to work. Until then, and while it is being stopped, whoever comes gets a page. */
  isServing: boolean;
  /** For that page: one sentence. */
  because: string;
  /** The container's control group, frozen by the watchdog when the lease is out. Null while there is no container. */
  cgroup: string | null;
  /** GitLab is told who the client is, at the doors that can (`Door.proxy`). */
  tellsClient: boolean;
}

interface GateKeeperOptions {
  home: string;
  clock: Clock;
  log: Pick<Log, 'info' | 'warn'>;
  watch: Pick<RunWatch, 'watchService' | 'freezeServices'>;
  /** Answers to writes wait for a lease that was asked for after them (SAFETY H9). */
  isStrict?: boolean;
  /** Another certificate is another door. */
  doors: readonly Door[] | (() => readonly Door[]);
  /** Table and bridge are ours to name; the user is `gateUser`, where nothing else is said. */
  guard: Omit<Guard, 'uid'> & { uid?: number };
  /** Of this agent: the gate of another one is replaced, and what passes through that goes on. */
  version: string;
  /** Whatever of ours has the doors, as this machine forwarded to another one until now, lets go of them. */
  makeWay?(): Promise<void>;
  /** The program with the hidden command `__gate`; by default this process's own. */
  bin?: string | undefined;
}

/** What keeps GitLab from being served, and what a person does about it. */
class GateProblem extends Error {
  constructor(sentence: string, fix: string) {
    super(`${sentence}\n-> ${fix}`);
  }
}

type Part = 'guard' | 'gate' | 'watchdog';

/**
 * The one place where a host's lease becomes one that anything goes by: the guard stands, the gate is at its doors, the watchdog has
 * read what it shall freeze, and then the gate is told (SAFETY H1, H2, H3). Nothing that fails here ends the agent: without a
 * renewal the lease runs out by itself, and what went wrong stands in `problems`.
 */
export class GateKeeper {
  readonly #options: GateKeeperOptions;
  readonly #guard: Guard;
  readonly #problems = new Map<Part, string>();
  readonly #failedAtMs = new Map<Part, number>();
  readonly #ended = new AbortController();
  #turn: Promise<void> = Promise.resolve();
  #number = 0;
  #closed = 0;
  #openUntil = 0;
  #guardedAtMs = Number.NEGATIVE_INFINITY;
  #aloneAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: GateKeeperOptions) {
    this.#options = options;
    this.#guard = { uid: gateUser, ...options.guard };
  }

  /** Sentences with what to do, the newest of each part. */
  problems(): string[] {
    return [...this.#problems.values()];
  }

  /**
   * Of a lease that was renewed: when this resolves the gate goes by it. Rejects, and nothing is served for longer, when one of the
   * three is missing, or when the epoch is closed.
   */
  renew(lease: HostedLease): Promise<void> {
    // One after the other: two renewals that start a gate at once would start two.
    const done = this.#turn.then(() => this.#renewNow(lease));
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #renewNow(lease: HostedLease): Promise<void> {
    if (process.getuid?.() !== 0)
      throw new GateProblem(
        'only root may set the rules that keep everybody else from GitLab',
        `run the agent as a service of the system: ${asRootService()}`,
      );
    await this.#part('guard', () => this.#stand());
    await this.#part('gate', () => this.#gate());
    await this.#part('watchdog', () => this.#watched(lease));
    if (this.#isClosed(lease.epoch)) throw new Error(`epoch ${lease.epoch} is closed`);
    await this.#write(this.#options.home, lease);
  }

  /**
   * Nothing passes from here on, and for this epoch never again; what is hosted is frozen. Resolves when each gate that lives has
   * read it, or when by its own clock nothing may pass any more: a gate that stands still cannot read.
   */
  async close(epoch: number, because: string): Promise<void> {
    const { home, clock, watch } = this.#options;
    this.#closed = Math.max(this.#closed, epoch);
    const before = readLease(makeGateFolder(home));
    // A lease of a later epoch is not this one's to close.
    if (before?.bootId === clock.bootId() && before.epoch > epoch) return;
    if (before?.bootId === clock.bootId()) this.#openUntil = Math.max(this.#openUntil, before.until);
    const id = await this.#write(home, {
      epoch,
      until: 0,
      upstream: null,
      isServing: false,
      because,
      tellsClient: false,
    });
    watch.freezeServices();
    while (clock.bootMs() < this.#openUntil && livingGates(home).some((pid) => seenBy(home, pid).id !== id))
      await sleep(limits.lookMs);
  }

  /** GitLab is not hosted here any more: gate and guard go. The container must be gone before. */
  async end(): Promise<void> {
    this.#ended.abort();
    await this.#turn;
    const { home, log } = this.#options;
    const left = (): number[] => livingGates(home);
    await endSidePrograms("GitLab's gate", { left, signal: 'SIGTERM', politeMs: limits.retireMs }).catch(
      (error: Error) =>
        // No lease of its epoch comes any more, and the container is gone.
        log.warn(error.message),
    );
    await dropGuard(this.#guard).catch((error: Error) => {
      // Without nftables there are no rules.
      if (!(error instanceof MissingNft)) throw error;
    });
    rmSync(gateFolder(home), { recursive: true, force: true });
  }

  /** By this agent, or by one before it. */
  #isClosed(epoch: number): boolean {
    if (epoch <= this.#closed || this.#ended.signal.aborted) return true;
    const { home, clock } = this.#options;
    const before = readLease(gateFolder(home));
    if (before?.bootId !== clock.bootId()) return false;
    return before.epoch > epoch || (before.epoch === epoch && before.until <= 0);
  }

  /** Within this turn of the event loop: nothing comes between what was looked at and what is written. */
  async #write(
    home: string,
    { epoch, until, upstream, isServing, because, tellsClient }: Omit<HostedLease, 'cgroup'>,
  ): Promise<string> {
    const bootId = this.#options.clock.bootId();
    const id = `${process.pid}-${++this.#number}`;
    const lease: GateLease = {
      id,
      bootId,
      epoch,
      until,
      upstream,
      isServing,
      because: because.slice(0, longestBecause),
      tellsClient,
      ...(this.#options.isStrict && until > 0 && { confirmedAt: until - hostingTimings.leaseMs }),
    };
    await writeLease(gateFolder(home), lease);
    return id;
  }

  /** Does it, and keeps what went wrong until it goes right; a part that failed rests for a moment. */
  async #part(part: Part, work: () => Promise<void>): Promise<void> {
    const known = this.#problems.get(part);
    const sinceMs = performance.now() - (this.#failedAtMs.get(part) ?? Number.NEGATIVE_INFINITY);
    if (known !== undefined && sinceMs < limits.againMs) throw new Error(known);
    try {
      await work();
    } catch (error) {
      const { message } = error as Error;
      this.#failedAtMs.set(part, performance.now());
      this.#problems.set(part, message);
      if (message !== known) this.#options.log.warn(`GitLab is not served from here: ${message}`);
      throw error;
    }
    this.#problems.delete(part);
    if (known !== undefined) this.#options.log.info(`GitLab's ${part} is in order again`);
  }

  async #stand(): Promise<void> {
    const { clock, home } = this.#options;
    const guard = this.#guard;
    if (clock.bootMs() - this.#guardedAtMs < limits.guardEveryMs) return;
    const isUserDue = clock.bootMs() - this.#aloneAtMs >= limits.userEveryMs;
    const other = isUserDue ? othersOfUser(guard.uid, livingGates(home)) : null;
    if (isUserDue) this.#aloneAtMs = other === null ? clock.bootMs() : Number.NEGATIVE_INFINITY;
    if (other !== null)
      throw new GateProblem(
        `${other} has the number of the gate's user, ${guard.uid}, and would get past its rules`,
        'give it another number, or end it; then GitLab is served again by itself',
      );
    try {
      if (!(await isGuarded(guard))) await setGuard(guard);
    } catch (error) {
      if (!(error instanceof MissingNft))
        throw new GateProblem(
          `the rules before GitLab cannot be set (${sentenceOf(error)})`,
          'see what nftables says: nft list ruleset',
        );
      throw new GateProblem(
        'nftables is not here, and without its rules everybody of this machine reaches GitLab past the gate',
        'install it: apt-get install nftables',
      );
    }
    this.#guardedAtMs = clock.bootMs();
  }

  async #watched({ cgroup, until, isServing }: HostedLease): Promise<void> {
    const { watch, home } = this.#options;
    if (cgroup === null && isServing)
      throw new GateProblem(
        'nobody could freeze GitLab: its container has no control group of its own',
        'see which one the engine gives it: docker info, Cgroup Driver',
      );
    if (cgroup === null) return;
    await watch.watchService(cgroup, until, this.#ended.signal).catch((error: Error) => {
      throw new GateProblem(error.message, `see what the watchdog said: tail ${home}/watchdog.log`);
    });
  }

  get #words(): string[] {
    const { version, doors } = this.#options;
    const all = typeof doors === 'function' ? doors() : doors;
    return ['1', String(this.#guard.uid), version, ...all.map(doorWord)];
  }

  /** An agent that comes after another finds its gate at work, with what passes through it. */
  async #gate(): Promise<void> {
    const { home, bin = ownProgram() } = this.#options;
    const now = gateNow(home);
    if (now.pid !== null && now.words.join(' ') === this.#words.join(' ')) return;
    if (!hasSidePrograms(bin)) throw new Error(`the gate cannot be started: ${bin} is not the agent's program`);
    const folder = makeGateFolder(home);
    if (now.pid !== null) setAside(home, now.pid);
    for (const pid of livingGates(home)) await this.#retire(pid);
    rmSync(problemFileIn(folder), { force: true });
    if (readMemberSecret(folder) === null) writeMemberSecret(folder, this.#guard.uid);
    await this.#options.makeWay?.();
    const [, user = '', ...words] = this.#words;
    startSideProgram({ bin, words: ['__gate', folder, user, ...words], log: gateLog(home), youngMiB: 2 });
    const until = performance.now() + limits.startMs;
    while (gateNow(home).pid === null) {
      if (existsSync(problemFileIn(folder))) throw this.#whyNot(folder);
      if (performance.now() > until || this.#ended.signal.aborted)
        throw new GateProblem('the gate did not start', `see what it said: tail ${gateLog(home)}`);
      await sleep(limits.lookMs);
    }
  }

  async #retire(pid: number): Promise<void> {
    const { home, log } = this.#options;
    const left = (): number[] => (!livingGates(home).includes(pid) || seenBy(home, pid).isRetired ? [] : [pid]);
    const onKill = (): void =>
      log.warn(
        `GitLab's gate (process ${pid}) of another version stands still and is killed: nothing passed through it`,
      );
    await endSidePrograms("GitLab's gate of another version", {
      ...{ left, signal: 'SIGUSR2', politeMs: limits.retireMs, onKill },
    });
  }

  #whyNot(folder: string): Error {
    const told = readTold(problemFileIn(folder), isRecord);
    const [code, port, message] = [told?.code, told?.port, told?.message];
    if (code === 'EADDRINUSE')
      return new GateProblem(
        `port ${port} of this machine is taken by another program, and GitLab is to be served there`,
        `end that program (ss -ltnp "sport = :${port}" names it), or deploy GitLab on another port: --port, --ssh-port`,
      );
    return new GateProblem(
      `the gate cannot listen (${message})`,
      `see what it said: tail ${gateLog(this.#options.home)}`,
    );
  }
}
