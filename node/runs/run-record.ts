import type { Run } from '../../protocol/ledger.ts';
import type { LocalRun } from '../ports.ts';
import { RunFailed } from './run-errors.ts';
import type { RunOptions } from './run-options.ts';
import type { RunProgress } from './run-progress.ts';

/**
 * A run as it stands on this node's disk: what the mesh knows of it, and how far it got. After `halted` nothing is written
 * any more: the next agent process goes on from what is there.
 */
export class RunRecord {
  readonly #options: Pick<RunOptions, 'store' | 'onRunChanged' | 'log'>;
  readonly #halted: AbortSignal;
  #local: LocalRun;
  #progress: RunProgress;

  constructor(
    options: Pick<RunOptions, 'store' | 'onRunChanged' | 'log'>,
    local: LocalRun,
    progress: RunProgress,
    halted: AbortSignal,
  ) {
    this.#options = options;
    this.#local = local;
    this.#progress = progress;
    this.#halted = halted;
  }

  get run(): Run {
    return this.#local.run;
  }

  get local(): LocalRun {
    return this.#local;
  }

  get progress(): RunProgress {
    return this.#progress;
  }

  async save(change: Partial<LocalRun>): Promise<void> {
    this.#local = { ...this.#local, ...change, progress: JSON.stringify(this.#progress) };
    if (!this.#halted.aborted) await this.#options.store.putRun(this.#local);
  }

  /** On disk when it resolves: only then may what follows begin. */
  async advance(progress: Partial<RunProgress>): Promise<void> {
    this.#progress = { ...this.#progress, ...progress };
    await this.save({});
  }

  /** A change that the mesh must know, and that need not outlive this process. */
  tell(change: Partial<Run>): void {
    this.#local = { ...this.#local, run: { ...this.run, ...change } };
    if (!this.#halted.aborted) this.#options.onRunChanged(this.run);
  }

  /** A change that the mesh must know, on disk first. A store that fails does not keep a result from GitLab. */
  async keep(change: Partial<Run>, progress: Partial<RunProgress> = {}): Promise<void> {
    const run = { ...this.run, ...change };
    this.#local = { ...this.#local, run };
    await this.advance(progress).catch((error: Error) => {
      if (run.state === 'running') throw new RunFailed('system', `the run cannot be kept: ${error.message}`);
      this.#options.log.error(`run of job ${run.job}: ${error.message}`);
    });
    if (!this.#halted.aborted) this.#options.onRunChanged(run);
  }
}
