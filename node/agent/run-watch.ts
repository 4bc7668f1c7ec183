import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../clock.ts';
import { thawIfFrozen } from '../executors/run-cgroup.ts';
import type { RunSupervisor } from '../runs/run-supervisor.ts';
import { startWatchdog, watchdogPid, watchdogSaysRead, writeBeat } from '../watchdog/watchdog.ts';
import { type BeatRun, readBeat, readBeatId } from '../watchdog/watchdog-beat.ts';

const beatEveryMs = 400;
/** A watchdog of an earlier version does not say what it has read; it looks five times a second. */
const oldWatchdogMs = 500;
/** ms for a watchdog to be started and to read of a run; then the run fails, not begun. */
const coverLimitMs = 15_000;
/** A watchdog that is this many beats behind does not watch: it looks twice a beat. */
const mostBehind = 5;

interface RunWatchOptions {
  home: string;
  runs: Pick<RunSupervisor, 'beats'>;
  clock: Pick<Clock, 'bootMs' | 'bootId'>;
  /** The beat cannot be written (a sentence), or can be again (null): said once each. */
  onProblem(because: string | null): void;
  /** The program with the hidden command `__watchdog`; for tests. */
  bin?: string;
}

/**
 * Tells the watchdog, a process of its own, until when each run may go on (SAFETY J1), and the GitLab that is hosted here (H3). It is started with the first run
 * and ends by itself when none is left; when this agent dies, it freezes what may not go on. Nothing that happens here
 * ends the agent: a beat that cannot be written is written again, and meanwhile the watchdog may freeze the runs.
 */
export class RunWatch {
  readonly #options: RunWatchOptions;
  /** Beats of this process, apart from those of others. */
  readonly #prefix = randomBytes(6).toString('hex');
  #timer: NodeJS.Timeout | null = null;
  #beating: Promise<void> | null = null;
  #hadAny = false;
  #number = 0;
  #problem: string | null = null;
  /** By run: the first beat that it stood in, and when that was written. */
  #writtenIn = new Map<string, { number: number; atMs: number }>();
  /** Runs that nobody can freeze from here: a remote engine. */
  #unwatched = new Set<string>();
  #hasWatchdog = true;
  /** By control group: what is frozen with the host lease (SAFETY H3). */
  readonly #services = new Map<string, BeatRun>();
  #thawed = '';

  /** What the agent before this one hosted is frozen when that one's lease is out, whether this one gets a lease or not. */
  constructor(options: RunWatchOptions) {
    this.#options = options;
    const { home, clock } = options;
    const told = readBeat(home);
    if (told?.bootId !== clock.bootId()) return;
    for (const { run, until, freeze, isService } of told.runs)
      if (isService === true && freeze.kind === 'cgroup') this.#hold(run, freeze.path, until);
  }

  /**
   * Resolves once a living watchdog has read, and lately, that this container's group is to be frozen at `until`, if nothing
   * newer comes. Throws when that does not happen. What a watchdog froze that is no more, nobody else thaws.
   */
  async watchService(cgroup: string, until: number, signal: AbortSignal): Promise<void> {
    if (!existsSync(cgroup)) throw new Error(`GitLab's container has ended (${cgroup} is gone)`);
    this.#hold(cgroup, cgroup, until);
    await this.covers(cgroup, signal);
    const watched = `${cgroup} ${watchdogPid(this.#options.home)}`;
    if (watched !== this.#thawed && !signal.aborted) thawIfFrozen(cgroup);
    this.#thawed = watched;
  }

  /** All that is hosted is to be frozen now. */
  freezeServices(): void {
    for (const [name, { freeze }] of this.#services) if (freeze.kind === 'cgroup') this.#hold(name, freeze.path, 0);
    void this.#beat();
  }

  #hold(name: string, path: string, until: number): void {
    this.#services.set(name, { run: name, until, freeze: { kind: 'cgroup', path }, isService: true });
  }

  /** Without those whose container is gone. */
  #hosted(): BeatRun[] {
    for (const [name, { freeze }] of this.#services)
      if (freeze.kind === 'cgroup' && !existsSync(freeze.path)) this.#services.delete(name);
    return [...this.#services.values()];
  }

  start(): void {
    this.#timer = setInterval(() => void this.#beat(), beatEveryMs);
  }

  stop(): void {
    if (this.#timer) clearInterval(this.#timer);
  }

  /**
   * Resolves once a living watchdog has read of the run: before that no step of it may begin, or an agent that dies then
   * leaves a script that nobody stops. `isNew`: has read of its place as it is from now on. Throws when that does not happen; ends
   * early, and says nothing, on abort.
   */
  async covers(run: string, signal: AbortSignal, isNew = false): Promise<void> {
    const { clock } = this.#options;
    const until = clock.bootMs() + coverLimitMs;
    if (isNew) {
      // A beat that is being written may have looked at the place before.
      await this.#beating;
      this.#writtenIn.delete(run);
      this.#unwatched.delete(run);
    }
    while (!signal.aborted && !this.#isCovered(run)) {
      if (clock.bootMs() > until)
        throw new Error(
          `its watchdog has not read of ${this.#services.has(run) ? 'GitLab' : 'this run'}: ${this.#problem ?? 'it does not start (watchdog.log)'}`,
        );
      if (!this.#writtenIn.has(run)) await this.#beat();
      if (!this.#isCovered(run)) await sleep(20);
    }
  }

  #isCovered(run: string): boolean {
    const { home, clock } = this.#options;
    if (this.#unwatched.has(run)) return true;
    const written = this.#writtenIn.get(run);
    if (written === undefined) return false;
    const isService = this.#services.has(run);
    if (!this.#hasWatchdog) return !isService;
    if (watchdogPid(home) === null) return false;
    if (!watchdogSaysRead(home)) return clock.bootMs() - written.atMs > oldWatchdogMs;
    const [prefix, number] = (readBeatId(home) ?? '').split(':');
    const least = isService ? Math.max(written.number, this.#number - mostBehind) : written.number;
    return prefix === this.#prefix && Number(number) >= least;
  }

  #beat(): Promise<void> {
    this.#beating ??= this.#writeBeat()
      .then(
        () => this.#setProblem(null),
        (error: Error) => this.#setProblem(`the watchdog cannot be told of the runs: ${error.message}`),
      )
      .finally(() => {
        this.#beating = null;
      });
    return this.#beating;
  }

  async #writeBeat(): Promise<void> {
    const { home, runs: supervisor, clock, bin } = this.#options;
    const beats = await supervisor.beats();
    const hosted = this.#hosted();
    const isAny = beats.length + hosted.length > 0;
    if (!isAny && !this.#hadAny) return;
    this.#hadAny = isAny;
    const runs: BeatRun[] = beats.flatMap(({ run, freezer, mayRunUntilBootMs, held }) =>
      freezer ? [{ run, until: mayRunUntilBootMs, freeze: freezer, held }] : [],
    );
    runs.push(...hosted);
    const number = ++this.#number;
    await writeBeat(home, { bootId: clock.bootId(), id: `${this.#prefix}:${number}`, runs });
    const atMs = clock.bootMs();
    this.#writtenIn = new Map(runs.map(({ run }) => [run, this.#writtenIn.get(run) ?? { number, atMs }]));
    this.#unwatched = new Set(beats.filter(({ freezer }) => freezer === null).map(({ run }) => run));
    if (runs.length > 0) this.#hasWatchdog = await startWatchdog(home, bin);
  }

  #setProblem(problem: string | null): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    this.#options.onProblem(problem);
  }
}
