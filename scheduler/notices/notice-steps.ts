import { limits } from '../../protocol/limits.ts';
import type { Notice, NoticeMemory, OpenCause, OutNotice } from '../../protocol/notices.ts';
import type { Cause } from './causes.ts';
import { noticeTimings } from './notice-timings.ts';
import { type Due, isOnce, severityOf, wordsOfMany, wordsOfOne } from './notice-words.ts';
import type { Quiet } from './quiet-hours.ts';
import { known, worse } from './severity.ts';

interface NoticeLook {
  wallMs: number;
  mesh: { id: string; name: string };
  /** The worst first. */
  causes: readonly Cause[];
  quiet: Quiet;
  /** Whom notices go to, by name. */
  targets: readonly string[];
}

/** What this leader alone has seen: since when a cause is there, since when one that was told is not. Another one looks anew. */
export interface NoticeSight {
  seen: Readonly<Record<string, number>>;
  gone: Readonly<Record<string, number>>;
}
export const noSight: NoticeSight = { seen: {}, gone: {} };

export const noMemory: NoticeMemory = {
  version: 0,
  open: [],
  out: [],
  budget: { left: noticeTimings.budget, at: 0 },
  failing: {},
};

/**
 * What a look makes of what was told: which notices are to be sent now. A life of a cause: seen -> (still there at another look,
 * after a while) told as broken -> told as still so, ever more seldom -> gone for a while: told as fixed -> kept in mind, so that
 * what comes and goes rings less. What only happened is told, is kept in mind while it is known, and is forgotten. The memory is the
 * same object where there is nothing to tell or to forget.
 */
export function stepNotices(
  memory: NoticeMemory,
  sight: NoticeSight,
  look: NoticeLook,
): { memory: NoticeMemory; sight: NoticeSight } {
  const { wallMs, causes } = look;
  const keys = new Set(causes.map(({ key }) => key));
  const next: NoticeSight = {
    seen: Object.fromEntries(causes.map(({ key }) => [key, Math.min(sight.seen[key] ?? wallMs, wallMs)])),
    gone: Object.fromEntries(
      memory.open
        .filter(({ key, fixedAt }) => fixedAt === null && !keys.has(key))
        .map(({ key }) => [key, Math.min(sight.gone[key] ?? wallMs, wallMs)]),
    ),
  };
  const kept = withoutOld(memory, keys, wallMs);
  const due = dueNow(kept, next, look).filter((one) => mayRing(one, look.quiet));
  return { memory: told(kept, due, look), sight: next };
}

/** Forgets what is long over, and what could not be told in time. */
function withoutOld(memory: NoticeMemory, there: ReadonlySet<string>, wallMs: number): NoticeMemory {
  const open = memory.open.filter(
    ({ key, fixedAt, once }) =>
      fixedAt === null || wallMs - fixedAt < noticeTimings.mindMs || (once === true && there.has(key)),
  );
  const out = memory.out.filter(({ at, to }) => to.length > 0 && wallMs - at < noticeTimings.giveUpMs);
  return open.length === memory.open.length && out.length === memory.out.length
    ? memory
    : { ...memory, version: memory.version + 1, open, out };
}

const confirmMs = ({ code, severity }: Cause): number =>
  noticeTimings.patientMs[code] ??
  { fail: noticeTimings.failMs, warn: noticeTimings.warnMs, info: noticeTimings.infoMs }[severity];

const stepOf = (times: readonly number[], count: number): number => times[Math.min(count, times.length - 1)] as number;

function isStillDue({ severity, stills, toldAt }: OpenCause, wallMs: number): boolean {
  if (known(severity) === 'info') return false;
  const { stillFailMs, stillWarnMs } = noticeTimings;
  return wallMs - toldAt >= stepOf(known(severity) === 'fail' ? stillFailMs : stillWarnMs, stills);
}

/** Again only where more happened since, and not at once: what happens all the time is one matter. */
const isOnceDue = (at: number, one: OpenCause | null, wallMs: number): boolean =>
  one === null || (at > one.toldAt && wallMs - one.toldAt >= noticeTimings.moreMs);

/** The worst first. */
function dueNow({ open }: NoticeMemory, sight: NoticeSight, { wallMs, causes }: NoticeLook): Due[] {
  const told = new Map(open.map((one) => [one.key, one]));
  const ofCauses = causes.flatMap((cause): Due[] => {
    const one = told.get(cause.key) ?? null;
    const isSure = wallMs - (sight.seen[cause.key] ?? wallMs) >= confirmMs(cause);
    if (!isSure) return [];
    if (cause.once !== null) return isOnceDue(cause.once, one, wallMs) ? [{ state: 'broken', cause, open: null }] : [];
    const isNew = one === null || one.fixedAt !== null || worse(cause.severity) > worse(one.severity);
    if (isNew) return [{ state: 'broken', cause, open: one }];
    return isStillDue(one, wallMs) ? [{ state: 'still', cause, open: one }] : [];
  });
  const over = open
    .filter(({ key, returns }) => {
      const since = sight.gone[key];
      return since !== undefined && wallMs - since >= stepOf(noticeTimings.overMs, returns);
    })
    .map((one): Due => ({ state: 'fixed', cause: null, open: one }));
  return roomFor([...ofCauses, ...over], open);
}

/** What there is no room to remember as told waits for a later look. */
function roomFor(due: readonly Due[], open: readonly OpenCause[]): Due[] {
  let room = limits.noticeCauses - open.filter(({ fixedAt }) => fixedAt === null).length;
  return due.filter(({ state, open: one }) => {
    if (state !== 'broken' || (one !== null && one.fixedAt === null)) return true;
    room -= 1;
    return room >= 0;
  });
}

const mayRing = (due: Due, quiet: Quiet): boolean => quiet === 'no' || (quiet === 'soft' && severityOf(due) === 'fail');

function told(memory: NoticeMemory, due: readonly Due[], look: NoticeLook): NoticeMemory {
  const { wallMs, targets } = look;
  const [first, ...others] = due;
  if (first === undefined || targets.length === 0) return memory;
  const left = budgetAt(memory, wallMs);
  // The last one is for what is broken outright: a hundred warnings do not keep it back.
  const isUrgent = due.some((one) => one.state === 'broken' && severityOf(one) === 'fail');
  const may = Math.floor(left) - (isUrgent ? 0 : 1);
  if (may < 1) return memory;
  const isFew = due.length <= Math.min(may, noticeTimings.singlesMost);
  const said = isFew ? due.map((one) => noticeOf(one, look)) : [severalOf([first, ...others], look)];
  const fresh = said.map((notice): OutNotice => ({ ...notice, to: [...targets] }));
  const incidents = new Set(due.map((one) => incidentOf(one, look)));
  // Whoever has not heard of it yet hears the newest word only.
  const waiting = memory.out.filter(({ incident }) => incident === null || !incidents.has(incident));
  return {
    ...memory,
    version: memory.version + 1,
    open: opened(memory.open, due, look),
    out: [...waiting, ...fresh].slice(-limits.noticesOut),
    budget: { left: left - said.length, at: wallMs },
  };
}

/** A clock that was set back neither gives nor takes. */
const budgetAt = ({ budget: { left, at } }: NoticeMemory, wallMs: number): number =>
  Math.min(noticeTimings.budget, left + Math.max(0, wallMs - at) / noticeTimings.refillMs);

function opened(open: readonly OpenCause[], due: readonly Due[], look: NoticeLook): OpenCause[] {
  const changed = new Map(due.map((one) => [one.cause?.key ?? one.open?.key ?? '', openOf(one, look)]));
  for (const one of due)
    for (const { key, severity, sentence } of one.cause?.with ?? [])
      changed.set(key, onceOf(key, incidentOf(one, look), { severity, sentence }, look.wallMs));
  const kept = open.map((one) => changed.get(one.key) ?? one);
  const names = new Set(open.map(({ key }) => key));
  const all = [...kept, ...[...changed].filter(([key]) => !names.has(key)).map(([, one]) => one)];
  // Of what is over, the longest ago is forgotten first.
  const over = all.filter(({ fixedAt }) => fixedAt !== null).sort((a, b) => (a.fixedAt ?? 0) - (b.fixedAt ?? 0));
  const dropped = new Set(over.slice(0, Math.max(0, all.length - limits.noticeCauses)).map(({ key }) => key));
  return all.filter(({ key }) => !dropped.has(key));
}

function openOf(due: Due, look: NoticeLook): OpenCause {
  const { wallMs } = look;
  if (due.state === 'fixed') return { ...due.open, toldAt: wallMs, fixedAt: wallMs };
  const { cause, open } = due;
  const now = { severity: cause.severity, sentence: cause.sentence.slice(0, limits.noticeChars), toldAt: wallMs };
  if (cause.once !== null) return onceOf(cause.key, incidentOf(due, look), cause, wallMs);
  if (open === null)
    return {
      key: cause.key,
      incident: incidentOf(due, look),
      ...now,
      since: wallMs,
      stills: 0,
      returns: 0,
      fixedAt: null,
    };
  if (due.state === 'still') return { ...open, ...now, stills: open.stills + 1 };
  const isBack = open.fixedAt !== null;
  return { ...open, ...now, stills: 0, fixedAt: null, ...(isBack && { since: wallMs, returns: open.returns + 1 }) };
}

/** Over as soon as it was told: nobody is told that it is fixed, also not by a leader of an earlier version. */
const onceOf = (
  key: string,
  incident: string,
  { severity, sentence }: Pick<Cause, 'severity' | 'sentence'>,
  at: number,
): OpenCause => ({
  ...{ key, incident, severity, sentence: sentence.slice(0, limits.noticeChars) },
  ...{ since: at, toldAt: at, stills: 0, returns: 0, fixedAt: at, once: true },
});

const incidentOf = (due: Due, { wallMs, mesh }: NoticeLook): string =>
  due.open?.incident ?? `${wallMs.toString(36)}-${markOf(`${mesh.id} ${due.cause?.key}`)}`;

function noticeOf(due: Due, look: NoticeLook): Notice {
  const incident = incidentOf(due, look);
  const { state } = due;
  const at = look.wallMs;
  const once = isOnce(due) && { once: true };
  return { id: `${incident}-${at.toString(36)}`, incident, state, at, ...once, ...wordsOfOne(due, look.mesh.name, at) };
}

function severalOf(due: readonly [Due, ...Due[]], look: NoticeLook): Notice {
  const at = look.wallMs;
  const mark = markOf(due.map((one) => incidentOf(one, look)).join(' '));
  return {
    id: `${at.toString(36)}-${mark}`,
    incident: null,
    state: 'several',
    at,
    ...wordsOfMany(due, look.mesh.name, at),
  };
}

/** FNV-1a, 32 bits: tells ids of one moment apart. */
function markOf(text: string): string {
  let hash = 0x811c9dc5;
  for (const letter of text) hash = Math.imul(hash ^ (letter.codePointAt(0) ?? 0), 0x01000193) >>> 0;
  return hash.toString(36);
}
