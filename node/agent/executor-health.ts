import type { Log } from '../log.ts';
import type { Executor } from '../ports.ts';

const everyMs = 10_000;

/**
 * Which executors work now. What was true when the agent began may end (an engine that is stopped, upgraded, out of
 * disk), and come back by itself: a node whose engine is away takes no jobs meanwhile, and says so to the mesh by its
 * report (public-reports 5). An executor without a cheap look is believed to work as it did at the start.
 */
export class ExecutorHealth {
  readonly #executors: readonly Executor[];
  readonly #log: Pick<Log, 'info' | 'warn'>;
  readonly #away = new Set<string>();
  /** Why the executor that runs the jobs cannot give them NVIDIA's GPUs. */
  gpuProblem: string | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(executors: readonly Executor[], log: Pick<Log, 'info' | 'warn'>) {
    this.#executors = executors;
    this.#log = log;
  }

  working(): string[] {
    return this.#executors.map(({ kind }) => kind).filter((kind) => !this.#away.has(kind));
  }

  /** Looks now, and from now on. */
  async begin(): Promise<this> {
    await this.look();
    this.#timer = setInterval(() => void this.look(), everyMs).unref();
    return this;
  }

  /** The agent's next life has one of its own. */
  stop(): void {
    if (this.#timer) clearInterval(this.#timer);
  }

  async #askGpus(executor: Executor): Promise<void> {
    try {
      this.gpuProblem = (await executor.gpuProblem?.()) ?? null;
    } catch {
      // What was known last stands: an engine that is too busy to describe itself still runs jobs.
    }
  }

  /** Never throws. */
  async look(): Promise<void> {
    await Promise.all(
      this.#executors.map(async (executor) => {
        const { kind } = executor;
        try {
          await executor.ready?.();
          // Jobs run by the first; asked each time, since a person who is told what is missing installs it.
          if (executor === this.#executors[0]) await this.#askGpus(executor);
          if (executor.ready && this.#away.delete(kind)) this.#log.info(`${kind} answers again: jobs are taken`);
        } catch (error) {
          if (!this.#away.has(kind))
            this.#log.warn(`${kind}: ${(error as Error).message}; no jobs are taken meanwhile`);
          this.#away.add(kind);
        }
      }),
    );
  }
}
