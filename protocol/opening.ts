import { z } from 'zod';
import { limits } from './limits.ts';

/**
 * The first frame, both ways, of a mesh stream: "I take you for a member, and this is where I am". Only then is the
 * stream open. The addresses are fresher than the ledger's, above all the evidence port of an agent that restarted.
 */
export const Opening = z.object({
  v: z.literal(1),
  addresses: z.array(z.string().max(256)).max(limits.addresses),
});
export type Opening = z.infer<typeof Opening>;

/** Bytes of an opening at most; the frames after it have `limits.frameBytes`. */
export const openingBytes = 8 << 10;
