import { appendFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { sharedTimings } from '../../protocol/timings.ts';
import { type Clock, systemClock } from '../clock.ts';
import { freezeCgroup, thawCgroup } from '../executors/run-cgroup.ts';
import { frozenBy, groupsOf, stoppedBy } from '../executors/run-members.ts';
import { continueRun, signalAll, stopRun } from '../executors/run-processes.ts';
import { isDiskError } from '../store/disk-errors.ts';
import { hasSidePrograms, leaveUnit, ownProgram, startSideProgram } from './side-program.ts';
import { pidLine, readPidFile } from './told-file.ts';
import { type Beat, type BeatRun, readBeat, sayRead, watch } from './watchdog-beat.ts';

export { type Beat, writeBeat } from './watchdog-beat.ts';

/**
 * The watchdog (SAFETY J1, H3): a process of its own that freezes runs whose right to go on has run out, also when the
 * agent is dead, stopped or stuck, and the engine with it. The agent starts it with its first run and writes a beat; it
 * reads the beat, works by control group files and signals only, and ends when no run is left for 10 s.
 */
const idleMs = 10_000;
const lookEveryMs = 5000;
/** Words of the pid file behind its first two: what this watchdog does that one of an earlier version does not. */
const saysRead = 'says-read';
const findsMarks = 'finds-marks';
/** An agent of before asks for no more than this. */
const freezesServices = 'freezes-services';
const freezesLate = 'freezes-late';

const pidFile = (home: string): string => join(home, 'watchdog.pid');
const logFile = (home: string): string => join(home, 'watchdog.log');

/** The pid of this home's living watchdog. */
export const watchdogPid = (home: string): number | null => readPidFile(pidFile(home)).pid;

/** Whether this home's watchdog says which beats it has read: one of an earlier version, still at work, does not. */
export const watchdogSaysRead = (home: string): boolean => readPidFile(pidFile(home)).words.includes(saysRead);

/** False on a disk that takes nothing: tried again at the next look. Runs are watched all the same. */
function writeName(home: string): boolean {
  try {
    writeFileSync(pidFile(home), pidLine(saysRead, findsMarks, freezesServices, freezesLate), {
      mode: 0o600,
    });
    return true;
  } catch (error) {
    if (!isDiskError(error)) throw error;
    return false;
  }
}

const startedAt = new Map<string, number>();

/**
 * Sees to it that a watchdog runs; cheap enough for every beat. `bin` is the program that has the hidden command
 * `__watchdog`; by default this process's own. False when there is none and none can be started from here.
 */
export async function startWatchdog(home: string, bin: string = ownProgram()): Promise<boolean> {
  const { pid, words } = readPidFile(pidFile(home));
  if (pid !== null && words.includes(freezesLate)) return true;
  // Started a moment ago: it needs some 100 ms until it says who it is.
  if (performance.now() - (startedAt.get(home) ?? Number.NEGATIVE_INFINITY) < 5000) return true;
  if (!hasSidePrograms(bin)) return false;
  startedAt.set(home, performance.now());
  if (pid !== null) await replaceOld(home, pid);
  mkdirSync(home, { recursive: true, mode: 0o700 });
  startSideProgram({
    bin,
    words: ['__watchdog', '--home', home],
    log: logFile(home),
    youngMiB: 1,
    onError: () => startedAt.delete(home),
  });
  return true;
}

/**
 * One of an earlier version would not find what this agent begins. What it froze, this agent holds frozen by now, or thaws
 * when it may go on: it writes its beat before it looks for its watchdog.
 */
async function replaceOld(home: string, pid: number): Promise<void> {
  signalAll([{ pid }], 'SIGKILL');
  for (let look = 0; look < 100 && watchdogPid(home) === pid; look++) await sleep(10);
}

/** One that has ended meanwhile, or refuses, keeps none of the others from it. Throws when none is left. */
export function inEach(groups: readonly string[], act: (path: string) => void): { done: string[]; refused: Error[] } {
  const done: string[] = [];
  const refused: Error[] = [];
  for (const path of groups.filter((group) => existsSync(group)))
    try {
      act(path);
      done.push(path);
    } catch (error) {
      if (existsSync(path)) refused.push(error as Error);
    }
  if (done.length + refused.length === 0) throw new Error(`${groups[0]} is gone`);
  return { done, refused };
}

/** By files where it has groups, else by signals. */
function freeze({ freeze: freezer }: BeatRun): ReturnType<typeof inEach> {
  if (freezer.kind === 'cgroup') return inEach(groupsOf(freezer), freezeCgroup);
  stopRun(() => stoppedBy(freezer));
  return { done: [], refused: [] };
}

function thaw({ freeze: freezer }: BeatRun): void {
  if (freezer.kind !== 'cgroup') return continueRun(() => stoppedBy(freezer));
  const [because] = inEach(groupsOf(freezer), thawCgroup).refused;
  if (because) throw because;
}

const lives = (run: BeatRun): boolean => frozenBy(run.freeze).length > 0;

const nameOf = ({ run, isService }: BeatRun): string => (isService === true ? `GitLab (${run})` : `run ${run}`);

/** One watchdog's state between two looks. */
export class Watchdog {
  readonly #home: string;
  readonly #clock: Clock;
  /** By run: the groups that this watchdog froze. */
  readonly #frozen = new Map<string, Set<string>>();
  readonly #failed = new Set<string>();
  #beat: Beat | null = null;
  #neededAtMs: number;
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  #saidRead: string | undefined;

  constructor(home: string, clock: Clock) {
    this.#home = home;
    this.#clock = clock;
    this.#neededAtMs = clock.bootMs();
  }

  /** False when it has nothing more to do. */
  look(): boolean {
    const now = this.#clock.bootMs();
    this.#beat = readBeat(this.#home) ?? this.#beat;
    if (this.#beat !== null && this.#beat.bootId !== this.#clock.bootId()) return false;
    this.#sayRead();
    const runs = this.#beat?.runs ?? [];
    const todo = watch(runs, this.#frozen, now);
    for (const run of todo.freeze)
      this.#do(run, true, `nobody let it go on for ${Math.round(now - run.until)} ms too long`);
    for (const run of todo.thaw) this.#do(run, false, 'it may go on again');
    for (const run of runs) if (now > run.until) this.#freezeLate(run);
    for (const run of this.#frozen.keys()) if (!runs.some((other) => other.run === run)) this.#frozen.delete(run);
    if (this.#isNeeded(runs, now)) this.#neededAtMs = now;
    return now - this.#neededAtMs < idleMs;
  }

  /** A run's first step waits for it. */
  #sayRead(): void {
    const id = this.#beat?.id;
    if (id === undefined || id === this.#saidRead) return;
    try {
      sayRead(this.#home, id);
      this.#saidRead = id;
    } catch {
      // A full disk, or a home that is gone: said at the next look.
    }
  }

  /** A run that its agent speaks for is believed to live; whether one without a word still does is asked now and then. */
  #isNeeded(runs: readonly BeatRun[], now: number): boolean {
    if (runs.some((run) => now <= run.until)) return true;
    if (now - this.#lookedAtMs <= lookEveryMs) return false;
    this.#lookedAtMs = now;
    return runs.some(lives);
  }

  #do(run: BeatRun, isFreeze: boolean, because: string): void {
    try {
      if (isFreeze) this.#freeze(run);
      else {
        thaw(run);
        this.#frozen.delete(run.run);
      }
      this.#failed.delete(run.run);
      this.#say(`${isFreeze ? 'froze' : 'thawed'} ${nameOf(run)}: ${because}`);
    } catch (error) {
      // Tried again at the next look; said once. Mostly the run has just ended and its group is gone.
      if (!this.#failed.has(run.run) && lives(run))
        this.#say(`cannot ${isFreeze ? 'freeze' : 'thaw'} ${nameOf(run)}: ${(error as Error).message}`);
      this.#failed.add(run.run);
    }
  }

  /** What stands still is known even when a group of it refuses: it is to go on again with the others. */
  #freeze(run: BeatRun): void {
    const { done, refused } = freeze(run);
    if (done.length > 0 || refused.length === 0) this.#frozen.set(run.run, new Set(done));
    if (refused[0]) throw refused[0];
  }

  /** A service that the engine starts when the run stands still already: it had been asked to before. */
  #freezeLate({ run, freeze: freezer }: BeatRun): void {
    const known = this.#frozen.get(run);
    const late = groupsOf(freezer).filter((path) => known?.has(path) === false && existsSync(path));
    if (known === undefined || late.length === 0) return;
    try {
      const { done } = inEach(late, freezeCgroup);
      for (const path of done) known.add(path);
      if (done.length > 0) this.#say(`froze what began late of run ${run}`);
    } catch {
      // Gone again.
    }
  }

  #say(sentence: string): void {
    try {
      appendFileSync(logFile(this.#home), `${new Date(this.#clock.wallMs()).toISOString()} ${sentence}\n`);
    } catch {
      // A full disk must not stop it.
    }
  }
}

/** The hidden command `__watchdog`: returns its exit code when no run is left, or another watchdog is there. */
export async function watchdogMain(home: string, clock: Clock = systemClock()): Promise<number> {
  if (watchdogPid(home) !== null && watchdogPid(home) !== process.pid) return 0;
  let isNamed = writeName(home);
  leaveUnit('watchdog');
  // What ends the agent (a terminal that closes, a Ctrl-C that reaches the group) is no reason to leave runs unwatched.
  for (const name of ['SIGHUP', 'SIGINT'] as const) process.on(name, () => undefined);
  const watchdog = new Watchdog(home, clock);
  while (true) {
    while (watchdog.look()) {
      await sleep(sharedTimings.watchdogPeriodMs);
      if (!isNamed) isNamed = writeName(home);
    }
    // An agent writes its beat before it looks for its watchdog: with the name taken off first, either it starts another
    // one, or its beat is seen here.
    rmSync(pidFile(home), { force: true });
    if (!watchdog.look()) return 0;
    isNamed = writeName(home);
  }
}
