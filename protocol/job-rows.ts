import { z } from 'zod';

/** One row of `jobs --json`. Times are RFC 3339. */
export const JobRow = z.object({
  job: z.number(),
  project: z.string(),
  name: z.string(),
  ref: z.string(),
  /** GitLab's number of its pipeline. Absent: GitLab did not tell, or the leader or the job's node is of an earlier version. */
  pipeline: z.number().optional(),
  tags: z.array(z.string()),
  state: z.enum(['waiting', 'granted', 'running', 'canceling', 'done', 'failed', 'canceled', 'lost']),
  node: z.string().nullable(),
  attempt: z.number(),
  queuedAt: z.string().nullable(),
  startedAt: z.string().nullable(),
  finishedAt: z.string().nullable(),
  exitCode: z.number().nullable(),
  because: z.string(),
});
export type JobRow = z.infer<typeof JobRow>;

/** `why <job>`: every machine, and the one reason it was not chosen (or was). */
export const WhyAnswer = z.object({
  job: z.number(),
  project: z.string(),
  name: z.string(),
  ref: z.string(),
  state: z.string(),
  waitedMs: z.number(),
  needs: z.string(),
  machines: z.array(z.object({ node: z.string(), fits: z.boolean(), because: z.string() })),
  because: z.string(),
  /** Where a job that is over ran, and how it ended. Times are RFC 3339. */
  ended: z
    .object({
      node: z.string(),
      startedAt: z.string().nullable(),
      finishedAt: z.string().nullable(),
      exitCode: z.number().nullable(),
    })
    .optional(),
});
export type WhyAnswer = z.infer<typeof WhyAnswer>;
