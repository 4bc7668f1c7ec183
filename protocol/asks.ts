import { z } from 'zod';
import { JobId, Sentence, ShortId } from './ids.ts';
import { JobRow, WhyAnswer } from './status.ts';

/** Questions between members that need no ledger change; one request and one answer on a stream of their own. */
export const Ask = z.discriminatedUnion('kind', [
  /** To the leader: queue and runs. `canceling`: who asks knows that state; for others such a job is `running`. */
  z.object({ kind: z.literal('jobs'), canceling: z.boolean().optional() }),
  z.object({ kind: z.literal('why'), job: JobId }),
  /** To the node that has the run: bytes of its trace from `offset`. */
  z.object({ kind: z.literal('trace'), run: ShortId, offset: z.int().nonnegative() }),
  /** The tail of that agent's own log. */
  z.object({ kind: z.literal('log'), lines: z.int().positive().max(1000) }),
]);
export type Ask = z.infer<typeof Ask>;

export const Answer = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('jobs'),
    rows: z.array(JobRow).max(3000),
    waiting: z.int().nonnegative(),
    running: z.int().nonnegative(),
  }),
  z.object({ kind: z.literal('why'), why: WhyAnswer.nullable() }),
  z.object({ kind: z.literal('trace'), text: z.string(), next: z.int().nonnegative(), done: z.boolean() }),
  z.object({ kind: z.literal('log'), text: z.string() }),
  z.object({ kind: z.literal('refused'), because: Sentence }),
]);
export type Answer = z.infer<typeof Answer>;
