import { z } from 'zod';
import { Bytes, Sentence, WallMs } from './ids.ts';

/** A folder with what a machine served of GitLab in that epoch, until another one took over; of epoch 0 what does not say whose it is. */
export const FencedName = z.string().regex(/^fenced-(?:0|[1-9]\d{0,15})(?:-[1-9]\d{0,3})?$/);
export type FencedName = z.infer<typeof FencedName>;

export const isFencedName = (text: string): boolean => FencedName.safeParse(text).success;

/** In which epoch that was served. */
export const fencedEpoch = (name: FencedName): number => Number(name.split('-')[1]);

/** What a machine says of one that it keeps. */
export const FencedSeen = z.looseObject({
  name: FencedName,
  /** When GitLab last wrote to it; 0 where that is not known. */
  at: WallMs,
  /** What would be free without it; null until it was measured. */
  bytes: Bytes.nullable(),
  /** A project of it that is being brought over: how far. Absent: none is. */
  doing: z.string().max(200).optional(),
  /** A person has had it compared with what serves. Absent: nobody has, or an earlier version says nothing of it. */
  looked: z.boolean().optional(),
  /** How the last one ended that was asked of this agent. */
  brought: z.looseObject({ isDone: z.boolean(), because: Sentence }).optional(),
});
export type FencedSeen = z.infer<typeof FencedSeen>;

/** One machine tells of so many at most. */
export const fencedMost = 16;
