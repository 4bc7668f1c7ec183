import { z } from 'zod';
import { MeshName, NodeId, NodeName, Sentence, ShortId, StoreId, WallMs } from './ids.ts';
import { Era, Ledger } from './ledger.ts';
import { limits } from './limits.ts';
import { Stamp } from './stamp.ts';

const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));

/**
 * Enrolment, in order, between a newcomer N and any member M, over noise (so both identities are proven):
 *   N knock      commits to a nonce of 32 bytes (sha256), so that the words cannot be ground
 *   M mesh       names the mesh and shows its own nonce
 *   N reveal     opens the commitment; both now compute the same four words
 *   M pending    the words are shown on both sides; a person compares and approves
 *   M approved   the ledger and the mesh key   | M refused, with the reason
 * With an invite, N adds a proof (HMAC of the code over both identities and nonces) to `reveal`, and M proves in
 * `approved` that it knows the code too, so that neither side needs a person.
 */
export const EnrolMessage = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('knock'),
    v: z.literal(1),
    name: NodeName,
    store: StoreId,
    commitment: hex(32),
    addresses: z.array(z.string().max(256)).max(limits.addresses),
    witness: z.boolean(),
    /** Id of the mesh that N takes itself for a member of, and only asks whether it still is. */
    memberOf: ShortId.optional(),
  }),
  z.object({
    kind: z.literal('mesh'),
    v: z.literal(1),
    meshId: ShortId,
    meshName: MeshName,
    member: NodeName,
    nonce: hex(32),
  }),
  // Whatever somebody typed for a code is refused in words.
  z.object({
    kind: z.literal('reveal'),
    nonce: hex(32),
    invite: z.object({ id: z.string().min(1).max(128), proof: hex(32) }).nullable(),
  }),
  z.object({ kind: z.literal('pending'), because: Sentence }),
  z.object({
    kind: z.literal('approved'),
    because: Sentence,
    ledger: Ledger,
    meshKey: hex(32),
    proof: hex(32).nullable(),
    self: NodeId,
  }),
  /** `forgotten`: the mesh removed N: who did it and when, and in which ledger M reads that. */
  z.object({
    kind: z.literal('refused'),
    because: Sentence,
    forgotten: z.object({ meshId: ShortId, at: WallMs, by: Sentence.nullable(), era: Era, stamp: Stamp }).optional(),
  }),
]);
export type EnrolMessage = z.infer<typeof EnrolMessage>;
export type EnrolMessageOf<K extends EnrolMessage['kind']> = Extract<EnrolMessage, { kind: K }>;
