import { z } from 'zod';
import { NodeName, WallMs } from './ids.ts';

/** Who asked for a change. `act`: what was done that is no change of the ledger, and what came of it. */
export const AskedBy = z.object({
  /** A user of that machine, a session or key of its page, or a rule. */
  who: z.string().min(1).max(128),
  act: z.object({ what: z.string().max(32), sentence: z.string().max(200) }).optional(),
});
export type AskedBy = z.infer<typeof AskedBy>;

/** Who did what, as every voter writes it down. */
export const AuditEntry = z.looseObject({
  /** Counted by the mesh: a number that is missing was not seen. */
  n: z.int().positive(),
  at: WallMs,
  who: z.string().max(128),
  /** The machine on which it was asked. */
  on: NodeName,
  what: z.string().max(32),
  sentence: z.string().max(200),
});
export type AuditEntry = z.infer<typeof AuditEntry>;

/** Oldest first. `isVoter`: this machine writes down all of it; another one knows only the newest. */
export const AuditAnswer = z.object({ entries: z.array(AuditEntry), isVoter: z.boolean() });
export type AuditAnswer = z.infer<typeof AuditAnswer>;
