import { z } from 'zod';
import { AskedBy } from './audit.ts';
import { Change, ChangeOutcome } from './changes.ts';
import { encode, encodeText, jsonOf } from './codec.ts';
import { HostedAt } from './hosted-move.ts';
import { BootId, ClassKey, DataId, NodeId, Sentence, ShortId, StoreId, Tag, WallMs } from './ids.ts';
import { Era, Ledger, Run } from './ledger.ts';
import { limits } from './limits.ts';
import { RoundName } from './round-name.ts';
import { Sealed } from './sealed.ts';
import { Stamp } from './stamp.ts';

/** Why a node wants an election (DESIGN §6): the receiver makes its own probe and answers by that (SAFETY L11). */
export const Evidence = z.enum(['refused', 'silent', 'timeout', 'handover', 'none']);
export type Evidence = z.infer<typeof Evidence>;

const term = z.int().nonnegative().max(limits.counter);
/** Which of the mesh's GitLabs, counted from 1: each deployment is another one. */
const epoch = z.int().positive().max(limits.counter);
/** Number of the leader's round; acknowledgements echo it, so that contact counts from when it was sent (SAFETY L12). */
const round = z.int().nonnegative();
/** Highest promise that the sender saw the other side make, and on which store: one rolled back finds out (SAFETY L9). */
const Promised = z.object({ term, stamp: Stamp, store: StoreId.optional() });

/** Everything that members say to each other on the direct stream /autogit/mesh/1. */
export const PeerMessage = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('hello'),
    boot: BootId,
    store: StoreId,
    term,
    stamp: Stamp,
    promised: Promised.nullable(),
    version: z.string().max(64),
    /** The committed ledger, for a node that was away: it may not know the leader of now, and refuse it as a stranger. */
    ledger: Ledger.nullable().optional(),
    /** Its version commits by its own disk and its leader's; absent in older ones, which wait for the commit mark. */
    commitsAlone: z.boolean().optional(),
  }),
  z.object({ kind: z.literal('pre-vote'), term, stamp: Stamp, evidence: Evidence, leader: NodeId.nullable() }),
  z.object({ kind: z.literal('pre-vote-answer'), term, granted: z.boolean(), store: StoreId, because: Sentence }),
  z.object({ kind: z.literal('vote'), term, stamp: Stamp, handover: z.boolean() }),
  z.object({ kind: z.literal('vote-answer'), term, granted: z.boolean(), store: StoreId, because: Sentence }),
  /**
   * Heartbeat and replication in one. `ledger` is present only when the leader thinks that the receiver lacks it. `away`:
   * who the leader misses; a hint to look for oneself.
   */
  z.object({
    kind: z.literal('append'),
    term,
    round,
    stamp: Stamp,
    committed: Stamp,
    ledger: Ledger.nullable(),
    away: z.array(NodeId).max(limits.nodes).optional(),
  }),
  /** `stamp`: what the sender has accepted in this term; null when the leader's ledger has not reached it yet. */
  z.object({ kind: z.literal('ack'), term, round, stamp: Stamp.nullable(), store: StoreId }),
  /**
   * The leader's own disk has it, and on which store: a promise (SAFETY L10), to those that commit by it. No round: it
   * proves no contact and is not answered.
   */
  z.object({ kind: z.literal('on-disk'), term, stamp: Stamp, store: StoreId }),
  /** Sent by a leader that goes: the receiver campaigns at once. */
  z.object({ kind: z.literal('timeout-now'), term }),
  /** `by`: absent of earlier versions, which leave it out too. */
  z.object({ kind: z.literal('change'), id: ShortId, change: Change, by: AskedBy.optional() }),
  z.object({ kind: z.literal('change-answer'), id: ShortId, outcome: ChangeOutcome }),
  /** The leader's permission to take one job of a class (DESIGN §7). Times to live count from receipt (SAFETY J5). */
  z.object({
    kind: z.literal('grant'),
    grant: ShortId,
    term,
    class: ClassKey,
    tags: z.array(Tag).max(limits.tagsPerJob),
    runner: z.int().positive().nullable(),
    token: Sealed,
    ttlMs: z.number().positive().max(600_000),
    gpus: z.array(z.string().max(128)).max(limits.gpus),
    because: Sentence,
  }),
  z.object({
    kind: z.literal('grant-answer'),
    grant: ShortId,
    outcome: z.enum(['used', 'empty', 'refused']),
    because: Sentence,
    /** GitLab itself said that it does not know the class's runner. */
    unknownRunner: z.boolean().optional(),
    /** GitLab asked to be left alone for so long (Retry-After). */
    waitMs: z.number().nonnegative().max(3_600_000).optional(),
  }),
  /** A node's own runs, all of them, sent when they change and every second until the ledger agrees. State, not events. */
  z.object({ kind: z.literal('own-runs'), boot: BootId, runs: z.array(Run).max(limits.runsInFlight) }),
  /**
   * The host of GitLab asks to go on (SAFETY H5). Its own time stays with it, under `nonce`. Only said to who can
   * 'hosting', and only answered to who asked: an older version does not know these two.
   */
  z.object({ kind: z.literal('lease-ask'), nonce: ShortId, epoch, data: DataId }),
  /** A round that began after the question reached the leader was answered by a quorum, in its own term. */
  z.object({ kind: z.literal('lease-given'), nonce: ShortId, epoch, term }),
  /**
   * GitLab's host is silent, and every lease that anybody gave it is out: which is the newest whole round that a machine holds
   * (SAFETY H10)? Only said to who can 'failover', as is its answer.
   */
  z.object({ kind: z.literal('round-ask'), nonce: ShortId, epoch, data: DataId }),
  /**
   * `round`: it stays there until the ledger has moved on; null where GitLab cannot be started there, `because` of what. `there`: where
   * its data would lie, and how it is reached. `takenAt`: by the host's wall clock.
   */
  z.object({
    kind: z.literal('round-told'),
    nonce: ShortId,
    epoch,
    data: DataId,
    round: RoundName.nullable(),
    takenAt: WallMs.nullable(),
    there: HostedAt.nullable(),
    because: Sentence.nullable(),
    /** It could, but another machine rather, as this one has to pull the image first. Absent: nothing speaks against it, or one of an earlier version. */
    rather: Sentence.optional(),
  }),
]);
export type PeerMessage = z.infer<typeof PeerMessage>;
export type MessageOf<K extends PeerMessage['kind']> = Extract<PeerMessage, { kind: K }>;

/** What travels on the stream: a message with the sender's era (SAFETY L15). */
export const Envelope = z.object({ v: z.literal(1), era: Era.nullable(), message: PeerMessage });
export type Envelope = z.infer<typeof Envelope>;

/** An envelope as it travels. The text of a ledger in it is made once, for all to whom it goes. Throws `frame-too-large`. */
export function encodeEnvelope(envelope: Envelope): Uint8Array {
  const { v, era, message } = envelope;
  if (message.kind !== 'append' || message.ledger === null) return encode(envelope, limits.frameBytes);
  const { ledger, ...rest } = message;
  const around = JSON.stringify({ v, era, message: rest });
  return encodeText(`${around.slice(0, -2)},"ledger":${jsonOf(ledger)}}}`, limits.frameBytes);
}
