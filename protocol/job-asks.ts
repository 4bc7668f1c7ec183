import { z } from 'zod';
import { JobId, Sentence, ShortId } from './ids.ts';
import { JobRow, WhyAnswer } from './job-rows.ts';
import { limits } from './limits.ts';

/** What a person wants of one job. `force`: end also one that is `canceling`, without waiting for its after_script. */
export const JobWish = z.strictObject({ wish: z.enum(['cancel', 'retry']), job: JobId, force: z.boolean() });
export type JobWish = z.infer<typeof JobWish>;

/** What is asked about jobs, on every mesh; asks.ts has all questions, most of which only a mesh with a hosted GitLab asks. */
export const JobAsk = z.discriminatedUnion('kind', [
  /**
   * To the leader: queue and runs. `canceling`: the node that asks knows that state; for others such a job is `running`. `brief`: only
   * what a person should look at in the queue; a leader of an earlier version answers with all of it.
   */
  z.object({ kind: z.literal('jobs'), canceling: z.boolean().optional(), brief: z.boolean().optional() }),
  z.object({ kind: z.literal('why'), job: JobId }),
  /** To the node that has the run: bytes of its trace from `offset`. */
  z.object({ kind: z.literal('trace'), run: ShortId, offset: z.int().nonnegative() }),
  /** To a node that holds GitLab's token: bytes of GitLab's copy of the trace of a run that has ended. */
  z.object({ kind: z.literal('ended-trace'), run: ShortId, offset: z.int().nonnegative() }),
  /** To a node that holds GitLab's token: what a person at any machine wants of a job. */
  z.object({ kind: z.literal('wish'), wish: JobWish }),
]);

/** A job that fits no machine, and why. */
const Misfit = z.object({ job: JobId, because: Sentence });
export type Misfit = z.infer<typeof Misfit>;

/** The answers to them, and the two that may come to any question. */
export const JobAnswer = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('jobs'),
    rows: z.array(JobRow).max(3000),
    waiting: z.int().nonnegative(),
    running: z.int().nonnegative(),
    /** Jobs in the queue that fit no machine, and why; absent unless `brief`, and of an earlier version. Never a reason to lose the rows. */
    misfits: z.array(Misfit).max(limits.misfits).optional().catch(undefined),
    /** Since when the job waits that waits longest (wall ms), null when none does; absent as those. */
    oldestQueuedAt: z.number().nonnegative().nullable().optional().catch(undefined),
  }),
  z.object({ kind: z.literal('why'), why: WhyAnswer.nullable() }),
  z.object({ kind: z.literal('trace'), text: z.string(), next: z.int().nonnegative(), done: z.boolean() }),
  /** The wish is done. `next`: the job that runs in place of the old one now. */
  z.object({ kind: z.literal('wished'), because: Sentence, next: JobId.nullable() }),
  /** The wish was tried and failed at GitLab, so no other node need be asked. */
  z.object({ kind: z.literal('failed'), code: z.string().max(64), because: Sentence, hint: Sentence }),
  /** This node cannot answer; another one may. */
  z.object({ kind: z.literal('refused'), because: Sentence }),
]);

/** Questions and answers of these kinds, and no others, are read by the two above. */
const kindsOf = (union: typeof JobAsk | typeof JobAnswer): ReadonlySet<unknown> =>
  new Set(union.options.map(({ shape }) => shape.kind.value));
export const jobAskKinds = kindsOf(JobAsk);
export const jobAnswerKinds = kindsOf(JobAnswer);
