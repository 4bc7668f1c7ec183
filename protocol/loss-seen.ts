import { z } from 'zod';
import { JobId, NodeName, Sentence } from './ids.ts';
import { limits } from './limits.ts';
import { sharedTimings } from './timings.ts';

/** A leader is silent for so long at most when its loss is rehearsed; why not for longer: `scheduler/rehearsed-loss.ts`. */
export const SilentMs = z.int().min(sharedTimings.probeSilenceMs).max(sharedTimings.runLeaseMs);

/** How far a rehearsal of the leader's loss is, as the machine tells that watches it; all times are ms since that leader fell silent. */
export const LeaderLossSeen = z.object({
  leader: NodeName,
  watcher: NodeName,
  /** asked: it leads still. over: it is back, and all that was to be seen was. failed: `because` says what was not. */
  state: z.enum(['asked', 'silent', 'over', 'failed']),
  because: Sentence.nullable(),
  /** Who leads now, and of which term; null: nobody else yet. */
  next: NodeName.nullable(),
  term: z.int().nonnegative().nullable(),
  ledMs: z.number().nonnegative().nullable(),
  /** The first ledger of the next leader was committed: it decides, and gives jobs out. */
  decidedMs: z.number().nonnegative().nullable(),
  backMs: z.number().nonnegative().nullable(),
  /** Jobs that ran when it began, and those of them that were given up since. */
  jobs: z.int().nonnegative(),
  lost: z.array(JobId).max(limits.runsInFlight),
});
export type LeaderLossSeen = z.infer<typeof LeaderLossSeen>;
