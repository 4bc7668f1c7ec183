import type { RunContext } from '../run-context.ts';
import type { RunProgress } from '../run-progress.ts';

/**
 * One part of a run's life, in a file of its own. The lifecycle persists each phase's name before it begins; whatever a
 * phase does more than once it persists itself (RunRecord.advance). The agent may be killed anywhere: the next process
 * calls `resume` of the phase that stands on disk, and then its `run`.
 */
export interface Phase {
  readonly name: Exclude<RunProgress['phase'], 'finished'>;
  /** After another agent process had begun it: finds again, or clears, what that one left. Throws RunFailed. */
  resume(run: RunContext): Promise<void>;
  /** To its end. Throws RunFailed (the job's result), Gone (no longer ours), Halted (the agent stops). */
  run(run: RunContext): Promise<void>;
}
