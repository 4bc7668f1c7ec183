import { z } from 'zod';
import { Bytes, DataId, NodeId, Sentence, WallMs } from './ids.ts';

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
  /**
   * Only of a time in which another side went on too (scheduler/hosting/sides.ts): whether it was served beyond the round with which
   * the mesh went on, by this disk alone. Absent: that cannot be known, or an earlier version.
   */
  took: z.enum(['none', 'more', 'looking']).optional(),
  /** How the last one ended that was asked of this agent. */
  brought: z.looseObject({ isDone: z.boolean(), because: Sentence }).optional(),
});
export type FencedSeen = z.infer<typeof FencedSeen>;

/** One machine tells of so many at most. */
export const fencedMost = 16;

/** GitLab was served on that machine beside the mesh, which was recovered by force, and nobody has looked at it: no push is taken. */
const OpenSide = z.looseObject({ node: NodeId, name: FencedName, since: WallMs, because: Sentence });
export type OpenSide = z.infer<typeof OpenSide>;

/**
 * A recovery by force: epochs from `from` on and below `below` may be of the former era, or of another recovery of it; but for those that
 * end with `side`, which are this mesh's own. Without `side` the mesh goes on with `below`.
 */
const Fork = z.looseObject({
  from: z.int().positive(),
  below: z.int().positive(),
  side: z.int().positive().max(999).optional(),
});
export type Fork = z.infer<typeof Fork>;

/** In the ledger, of a hosted GitLab. `forks`: of recoveries that were followed by another one. Absent: never was any. */
export const Sides = z.looseObject({ open: z.array(OpenSide).max(fencedMost), forks: z.array(Fork).max(fencedMost) });
export type Sides = z.infer<typeof Sides>;

/** The same of data of a GitLab that was uninstalled and kept: it is so again where they are deployed once more. */
export const LeftSides = Sides.extend({ data: DataId });
export type LeftSides = z.infer<typeof LeftSides>;

/** Of so many GitLabs that were uninstalled, the last ones. */
export const leftSidesMost = 4;
