import { z } from 'zod';
import { NodeId, Sentence, ShortId, WallMs } from './ids.ts';
import { limits } from './limits.ts';
import { Sealed } from './sealed.ts';

/*
 * What the ledger knows of word to people: whom the mesh tells, when not, and what was told already, so that a leader that goes on
 * where another one died tells it with the same id. Nothing of it is there while nobody is told.
 */

/** How people name somebody that is told. */
export const NoticeName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,31}$/, 'a name is a-z, 0-9 and -, at most 32 characters');

/*
 * What a later version may add to is a word here and no closed list: an agent that does not know it keeps it and passes it on as it
 * is, instead of taking the whole ledger for damaged. Agents of 2026-11-30 and before have closed lists here: whoever adds a word writes
 * it only where all machines say that they can read it (`can`).
 */
const word = z.string().min(1).max(32);
/** `info`, `warn`, `fail`, or what only a later version knows: that is taken for `warn`. */
const severity = word;

/** One that is told. `kind` may be one that only a later version knows. */
export const NoticeTarget = z.looseObject({
  kind: z.string().min(1).max(32),
  /** Address, password and all that is needed to tell it (JSON), for the voters. */
  secret: Sealed,
  /** What people may see of the address. */
  shown: z.string().max(200),
  since: WallMs,
  because: Sentence,
  /** The machine whose autogit.yml names it. Absent: a person did, by a command. */
  file: NodeId.optional(),
});
export type NoticeTarget = z.infer<typeof NoticeTarget>;

/** When nobody is woken: minutes of the day in `zone` (IANA); `from` after `to` is over midnight. */
export const QuietHours = z.looseObject({
  from: z.int().min(0).max(1439),
  to: z.int().min(0).max(1439),
  zone: z.string().min(1).max(64),
  /** True: what is broken outright waits too. */
  all: z.boolean(),
});
export type QuietHours = z.infer<typeof QuietHours>;

/** A button beside a notice that this version has: what a person may do with one touch. */
export const KnownAct = z.discriminatedUnion('act', [
  z.object({ act: z.literal('approve'), node: z.string().max(64), words: z.string().max(128) }),
  z.object({ act: z.literal('resume-gpu'), node: z.string().max(64) }),
]);
export type KnownAct = z.infer<typeof KnownAct>;

/** The same as the ledger has it: of one that is none of `KnownAct` there is no button, and it stays as it is. */
export const NoticeAct = z.looseObject({ act: word });
export type NoticeAct = z.infer<typeof NoticeAct>;

/** What was told as broken, until it was told as fixed, and a while longer: what comes and goes rings more and more seldom. */
const OpenCause = z.looseObject({
  key: z.string().min(1).max(160),
  /** The same for all that is told of it, from its beginning to its end. */
  incident: ShortId,
  severity,
  sentence: z.string().max(limits.noticeChars),
  /** When it was told as broken, and when anything was told of it last. */
  since: WallMs,
  toldAt: WallMs,
  /** How often its going on was told, and how often it came back. */
  stills: z.int().nonnegative().max(limits.counter),
  returns: z.int().nonnegative().max(limits.counter),
  /** Null: it is not over, as far as was told. */
  fixedAt: WallMs.nullable(),
  /** True: it happened, and is nothing that lasts. It is told once, and never as still so or fixed. */
  once: z.boolean().optional(),
});
export type OpenCause = z.infer<typeof OpenCause>;

/** One word to people. `id` is the same however often, and by whomever, it is sent. */
export const Notice = z.looseObject({
  id: ShortId,
  /** Null: of several things at once. */
  incident: ShortId.nullable(),
  /** `broken`, `still`, `fixed`, `several`, `test`, or what only a later version knows. */
  state: word,
  severity,
  at: WallMs,
  title: z.string().max(200),
  /** What it is, and why: whole sentences, a line each. */
  text: z.string().max(2 * limits.noticeChars),
  /** What to type. */
  fix: z.string().max(300).nullable(),
  act: NoticeAct.nullable(),
  /** True: it happened, and nobody will say that it is still so, or fixed. */
  once: z.boolean().optional(),
});
export type Notice = z.infer<typeof Notice>;

const OutNotice = Notice.extend({
  /** Who has not got it yet, by name. */
  to: z.array(NoticeName).max(limits.noticeTargets),
});
export type OutNotice = z.infer<typeof OutNotice>;

export const NoticeMemory = z.looseObject({
  /** Each change names the one that it starts from: of two leaders' words one counts. */
  version: z.int().nonnegative().max(limits.counter),
  open: z.array(OpenCause).max(limits.noticeCauses),
  /** What is still to be sent, the oldest first. */
  out: z.array(OutNotice).max(limits.noticesOut),
  /** How many more may be told now, as of `at`. */
  budget: z.looseObject({ left: z.number().min(0).max(100), at: WallMs }),
  /** Who could not be told for a while, since when and why. */
  failing: z.record(NoticeName, z.looseObject({ since: WallMs, because: z.string().max(200) })),
  /** Who was told something, since when that works. Not in it: nothing has arrived there as yet, as far as is known. */
  heard: z.record(NoticeName, WallMs).optional(),
});
export type NoticeMemory = z.infer<typeof NoticeMemory>;

export const LedgerNotices = z.looseObject({
  targets: z.record(NoticeName, NoticeTarget),
  quiet: QuietHours.optional(),
  /** Absent: nothing was told yet. */
  memory: NoticeMemory.optional(),
});
export type LedgerNotices = z.infer<typeof LedgerNotices>;
