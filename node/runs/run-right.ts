import { setTimeout as sleep } from 'node:timers/promises';
import { sharedTimings } from '../../protocol/timings.ts';
import type { RunContext } from './run-context.ts';

/**
 * Resolves when something of the run may begin, its first step or a service beside it (SAFETY J1): a watchdog has read of it, no former
 * try of the job goes on, and the run does not stand still. `isNew`: the place has changed since the watchdog was told of the run.
 * Throws what ended the run meanwhile, or that no watchdog reads.
 */
export async function untilMayBegin(
  { options, record, ending, freezing }: Pick<RunContext, 'options' | 'record' | 'ending' | 'freezing'>,
  isNew = false,
): Promise<void> {
  await options.watched?.(record.run.run, ending.signal, isNew);
  if (!freezing.isLeaderHeard) await untilFormerTryStands(record.progress.sinceBootMs, options.clock, ending.signal);
  await freezing.untilThawed(ending.signal);
  ending.check();
}

/**
 * A former try of this job goes on until it asks GitLab (SAFETY J1): one that a leader of before a recovery gave up; or one that a new
 * leader gave up, which knows nothing of the grant by which a machine that does not hear it got this one.
 */
async function untilFormerTryStands(sinceMs: number, clock: { bootMs(): number }, signal: AbortSignal): Promise<void> {
  const waitMs = sinceMs + sharedTimings.standsStillMs - clock.bootMs();
  if (waitMs > 0) await sleep(waitMs, undefined, { signal }).catch(() => undefined);
}
