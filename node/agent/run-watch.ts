import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../clock.ts';
import type { RunSupervisor } from '../runs/run-supervisor.ts';
import { startWatchdog, watchdogPid, watchdogSaysRead, writeBeat } from '../watchdog/watchdog.ts';
import { readBeatId } from '../watchdog/watchdog-beat.ts';

const beatEveryMs = 400;
/** A watchdog of an earlier version does not say what it has read; it looks five times a second. */
const oldWatchdogMs = 500;
/** ms for a watchdog to be started and to read of a run; then the run fails, not begun. */
const coverLimitMs = 15_000;

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
 * Tells the watchdog, a process of its own, until when each run may go on (SAFETY J1). It is started with the first run
 * and ends by itself when none is left; when this agent dies, it freezes what may not go on. Nothing that happens here
 * ends the agent: a beat that cannot be written is written again, and meanwhile the watchdog may freeze the runs.
 */
export class RunWatch {
  readonly #options: RunWatchOptions;
  /** Beats of this process, apart from those of others. */
  readonly #prefix = randomBytes(6).toString('hex');
  #timer: NodeJS.Timeout | null = null;
  #beating: Promise<void> | null = null;
  #hadRuns = false;
  #number = 0;
  #problem: string | null = null;
  /** By run: the first beat that it stood in, and when that was written. */
  #writtenIn = new Map<string, { number: number; atMs: number }>();
  /** Runs that nobody can freeze from here: a remote engine. */
  #unwatched = new Set<string>();
  #hasWatchdog = true;

  constructor(options: RunWatchOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => void this.#beat(), beatEveryMs);
  }

  stop(): void {
    if (this.#timer) clearInterval(this.#timer);
  }

  /**
   * Resolves once a living watchdog has read of the run: before that no step of it may begin, or an agent that dies then
   * leaves a script that nobody stops. Throws when that does not happen; ends early, and says nothing, on abort.
   */
  async covers(run: string, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const until = clock.bootMs() + coverLimitMs;
    while (!signal.aborted && !this.#isCovered(run)) {
      if (clock.bootMs() > until)
        throw new Error(
          `its watchdog has not read of this run: ${this.#problem ?? 'it does not start (watchdog.log)'}`,
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
    if (!this.#hasWatchdog) return true;
    if (watchdogPid(home) === null) return false;
    if (!watchdogSaysRead(home)) return clock.bootMs() - written.atMs > oldWatchdogMs;
    const [prefix, number] = (readBeatId(home) ?? '').split(':');
    return prefix === this.#prefix && Number(number) >= written.number;
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
    if (beats.length === 0 && !this.#hadRuns) return;
    this.#hadRuns = beats.length > 0;
    const runs = beats.flatMap(({ run, freezer, mayRunUntilBootMs, held }) =>
      freezer ? [{ run, until: mayRunUntilBootMs, freeze: freezer, held }] : [],
    );
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
