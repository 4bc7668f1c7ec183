import { z } from 'zod';
import { Sentence, WallMs } from './ids.ts';

const ObjectId = z.string().max(64).nullable();
const Count = z.int().nonnegative();

/** What is not the same then and now, of one repository. */
export const Difference = z.object({
  /** Path of its project, or where GitLab stores it where that is not known. */
  repository: z.string().max(512),
  /**
   * `ref`: one ref; `others`: so many (`added`) of GitLab's own refs beside people's; `gone`: it was there then and is not now; `new`:
   * the other way round; `unread`: git keeps its refs in a form that is not read here.
   */
  what: z.enum(['ref', 'others', 'gone', 'new', 'unread']),
  ref: z.string().max(1024).nullable(),
  then: ObjectId,
  now: ObjectId,
  /** Commits that are there now and were not then, and the other way round; null where that was not counted. */
  added: Count.nullable(),
  lost: Count.nullable(),
});
export type Difference = z.infer<typeof Difference>;

/** Part of a comparison of now with a round, a backup, or what was replaced. */
export const Comparison = z.object({
  at: WallMs,
  /** How long GitLab has written since. */
  passedMs: Count,
  rows: z.array(Difference).max(1000),
  /** Where these begin, and how many there are in all. */
  from: Count,
  total: Count,
  /** Files on one side only, by kind; null where they were not compared. */
  files: z.array(z.object({ kind: z.string().max(128), then: Count, now: Count })).max(64),
  notes: z.array(Sentence).max(16),
});
export type Comparison = z.infer<typeof Comparison>;
