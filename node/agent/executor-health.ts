import { sentenceOf } from '../../protocol/errors.ts';
import { asSentence } from '../../protocol/ids.ts';
import type { Measured } from '../../protocol/report.ts';
import type { Log } from '../log.ts';
import type { Executor } from '../ports.ts';
import { gitHere } from '../runs/git-here.ts';

const everyMs = 10_000;
/** Looks between two clean-ups of what runs left for later ones: 10 min. */
const tidyEvery = 60;

type WorkProblem = NonNullable<Measured['workProblems']>[number];

/** Something beside its executor that every job here needs. */
interface Need {
  /** The code of its line in `status`, e.g. `git-away`. */
  about: string;
  /** A cheap look; throws what is wrong. */
  ready?(): Promise<void>;
  /** What somebody else has seen to be wrong, as of now. */
  problem?(): string | null;
}

/** What every job here needs. `seen`: problems that this node's member has noticed itself; null before there is a member. */
export const jobNeeds = (seen: () => { diskProblem: string | null; gitlabProblem: string | null } | null): Need[] => [
  { about: 'git-away', ready: async () => void (await gitHere.check()) },
  { about: 'disk-full', problem: () => seen()?.diskProblem ?? null },
  { about: 'gitlab-away', problem: () => seen()?.gitlabProblem ?? null },
];

/**
 * Whether jobs can begin here now. What was true when the agent began may end (an engine that is stopped, upgraded or
 * hangs, a git that was removed, a disk that is full), and come back by itself: meanwhile this node takes no jobs, and
 * tells the mesh why by its report (public-reports 5). An executor without a cheap look is believed to work as it did at
 * the start.
 */
export class ExecutorHealth {
  readonly #executors: readonly Executor[];
  readonly #needs: readonly Need[];
  readonly #log: Pick<Log, 'info' | 'warn'>;
  readonly #problems = new Map<string, WorkProblem>();
  /** Why the executor that runs the jobs cannot give them NVIDIA's GPUs. */
  gpuProblem: string | null = null;
  /** By which the executor that runs the jobs can isolate them. */
  runtimes: string[] = [];
  #timer: NodeJS.Timeout | null = null;

  constructor(executors: readonly Executor[], log: Pick<Log, 'info' | 'warn'>, needs: readonly Need[] = []) {
    this.#executors = executors;
    this.#needs = needs;
    this.#log = log;
  }

  /** Executors that can begin jobs now. None while the first one, which begins them, or something that all jobs need is missing. */
  working(): string[] {
    if (this.problems().length > 0) return [];
    return this.#executors.map(({ kind }) => kind).filter((kind) => !this.#problems.has(awayCode(kind)));
  }

  /** Why no jobs are taken here. */
  problems(): WorkProblem[] {
    const [first] = this.#executors;
    if (!first) return [];
    const seen = this.#needs.map(({ about, problem }) => {
      const sentence = problem?.() ?? null;
      return sentence === null ? (this.#problems.get(about) ?? []) : { about, sentence: asSentence(sentence) };
    });
    const full = first.noRoom?.() ?? null;
    const own = full === null ? [] : { about: `${first.kind}-full`, sentence: asSentence(full) };
    return [this.#problems.get(awayCode(first.kind)) ?? [], own, ...seen].flat();
  }

  /** Looks now, and from now on. */
  async begin(): Promise<this> {
    await this.look();
    let looks = 0;
    this.#timer = setInterval(() => {
      void this.look();
      if (++looks % tidyEvery === 1) void this.#tidy();
    }, everyMs).unref();
    return this;
  }

  /** Ends the looks of this life of the agent; its next life makes its own ExecutorHealth. */
  stop(): void {
    if (this.#timer) clearInterval(this.#timer);
  }

  async #tidy(): Promise<void> {
    for (const executor of this.#executors)
      if (!this.#problems.has(awayCode(executor.kind)))
        await executor.tidy?.().catch((error: Error) => {
          this.#log.warn(`${executor.kind}: its clean-up failed: ${error.message}`);
        });
  }

  async #askMore(executor: Executor): Promise<void> {
    try {
      this.runtimes = (await executor.runtimes?.()) ?? [];
      this.gpuProblem = (await executor.gpuProblem?.()) ?? null;
    } catch {
      // The last known answer is kept: an engine that is too busy to describe itself still runs jobs.
    }
  }

  /** Never throws. */
  async look(): Promise<void> {
    // A machine that runs no jobs needs nothing for them.
    const needs = this.#executors.length > 0 ? this.#needs : [];
    await Promise.all([
      ...this.#executors.map((executor) =>
        this.#lookAt(awayCode(executor.kind), executor.kind, async () => {
          await executor.ready?.();
          // Jobs run by the first; asked each time, since a person who is told what is missing installs it.
          if (executor === this.#executors[0]) await this.#askMore(executor);
        }),
      ),
      ...needs.map((need) => this.#lookAt(need.about, need.about, async () => need.ready?.())),
    ]);
  }

  async #lookAt(about: string, what: string, ready: () => Promise<void>): Promise<void> {
    try {
      await ready();
      if (this.#problems.delete(about)) this.#log.info(`${what} is well again: jobs are taken`);
    } catch (error) {
      const sentence = asSentence(sentenceOf(error));
      if (this.#problems.get(about)?.sentence !== sentence)
        this.#log.warn(`${what}: ${sentence}; no jobs are taken meanwhile`);
      this.#problems.set(about, { about, sentence });
    }
  }
}

const awayCode = (kind: string): string => `${kind}-away`;
