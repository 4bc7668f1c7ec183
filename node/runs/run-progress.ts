import { z } from 'zod';
import { failureCauses } from '../../gitlab-bridge/failure-reason.ts';
import type { RunResult } from '../../protocol/ledger.ts';

/**
 * How far a run got, persisted before each step of its life, so that another agent process goes on exactly there:
 *
 *     preparing  nothing of the job has begun: after a crash it may be prepared anew
 *     steps      `step` is in flight when `begun`, else it is next; a step that has begun is never begun again
 *     artifacts  the script has ended; `cached` caches are kept, `uploaded` artifacts are at GitLab
 *     finished   the result is known and goes to GitLab until it has it
 */
export const Verdict = z.object({
  state: z.enum(['success', 'failed', 'canceled']),
  cause: z.enum(failureCauses).nullable(),
  exitCode: z.int().nullable(),
  because: z.string(),
  /** What did not answer, where the job named it. */
  server: z.string().optional(),
});
export type Verdict = z.infer<typeof Verdict>;

export const RunProgress = z.object({
  phase: z.enum(['preparing', 'steps', 'artifacts', 'finished']),
  step: z.int().nonnegative(),
  begun: z.boolean(),
  /** Hooks that have begun in the place; it counts its steps behind them. */
  hooked: z.int().nonnegative().default(0),
  /** Hooks that had begun in places before it, of agents that are gone: the trace counts each one's output apart. */
  hookedBefore: z.int().nonnegative().default(0),
  /** Of the caches that this end of the job keeps, those that are done with. */
  cached: z.int().nonnegative().default(0),
  uploaded: z.int().nonnegative(),
  /** Boot ms at which the run began: its timeout counts from there, over restarts of the agent. */
  sinceBootMs: z.number(),
  verdict: Verdict,
  /** While it stands still for its machine's owner: since when (boot ms), why, and whose GPU memory lies in main memory. */
  held: z
    .object({
      sinceBootMs: z.number(),
      said: z.string(),
      suspended: z.array(z.int().positive()),
      /** As it was asked for; what is frozen may have been asked for more. */
      asked: z.enum(['freeze', 'suspend', 'suspend/end']).default('freeze'),
    })
    .nullable()
    .default(null),
  /** ms that it stood still so before. */
  heldMs: z.number().nonnegative().default(0),
  /** CI_CONCURRENT_ID and CI_CONCURRENT_PROJECT_ID: the run's as long as it lives, over restarts of the agent. */
  slots: z.object({ all: z.int().nonnegative(), project: z.int().nonnegative() }).default({ all: 0, project: 0 }),
});
export type RunProgress = z.infer<typeof RunProgress>;

const success: Verdict = { state: 'success', cause: null, exitCode: 0, because: 'the script passed' };

export function newProgress(sinceBootMs: number, slots = { all: 0, project: 0 }): RunProgress {
  return {
    phase: 'preparing',
    step: 0,
    begun: false,
    hooked: 0,
    hookedBefore: 0,
    cached: 0,
    uploaded: 0,
    sinceBootMs,
    verdict: success,
    held: null,
    heldMs: 0,
    slots,
  };
}

/** A run of an earlier boot that had not begun yet: its times count from now. */
export const sinceThisBoot = (progress: RunProgress, bootMs: number): RunProgress =>
  progress.sinceBootMs <= bootMs ? progress : { ...progress, sinceBootMs: bootMs };

/** Of a run whose result is known, whatever became of the record of how it got there: it is delivered, never run again. */
export const finishedProgress = (result: RunResult, sinceBootMs: number): RunProgress => ({
  ...newProgress(sinceBootMs),
  phase: 'finished',
  verdict: {
    state: result.state,
    cause: result.state !== 'failed' ? null : result.exitCode === null ? 'system' : 'script',
    exitCode: result.exitCode,
    because: result.because,
  },
});

/** Null for a text of another form: the run is then treated as lost, never run again. */
export function parseProgress(text: string | undefined): RunProgress | null {
  if (text === undefined) return null;
  try {
    return RunProgress.parse(JSON.parse(text));
  } catch {
    return null;
  }
}
