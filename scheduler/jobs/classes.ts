import { own, shownClass } from '../../protocol/ids.ts';
import type { Ledger, LedgerClass } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { leavingOf } from '../disconnecting.ts';
import type { InputOf } from '../inputs.ts';
import { note } from '../note.ts';
import { wake } from '../part-turn.ts';
import { creatingClass, goneClass, readyClass, retiringClass, usedClass } from './class-edits.ts';
import { demandOf } from './demand.ts';
import { backoffMs, jobTimings } from './job-timings.ts';
import { type ClassAttempts, isOpen, type JobsState, noAttempts, type WaitingJob } from './jobs-state.ts';
import { type JobsTurn, mint, setLead } from './jobs-turn.ts';
import type { MachineView } from './machine-fit.ts';
import { machinesOf, viewOf } from './machines.ts';
import { place } from './placement.ts';
import { canReadQueue } from './queue.ts';

/*
 * The life of a class (SAFETY J7): waiting jobs with a new tag set -> `creating` with a nonce, committed -> GitLab
 * makes a runner -> `ready` with its id and token, committed -> grants ... unused for a day -> `retiring`, committed ->
 * grants have run out -> GitLab deletes the runner -> gone. A try that fails or is not ours gets a new nonce, and what
 * GitLab made for an old one is deleted when it shows up.
 */

export const attemptsOf = (jobs: JobsState, key: string): ClassAttempts => own(jobs.lead?.classes, key) ?? noAttempts;

export function setAttempts(turn: JobsTurn, key: string, change: Partial<ClassAttempts>): void {
  const attempts = { ...attemptsOf(turn.jobs, key), ...change };
  setLead(turn, { classes: { ...turn.jobs.lead?.classes, [key]: attempts } });
}

export const mayWrite = (turn: JobsTurn): boolean =>
  turn.context.mayAct && turn.at - turn.context.leaderContactAt() <= jobTimings.contactLimitMs;

export function tendClasses(turn: JobsTurn, waiting: readonly WaitingJob[]): void {
  const { ledger } = turn.context;
  if (ledger === null || !canReadQueue(ledger) || leavingOf(ledger) !== null) return;
  const wanted = new Map<string, readonly string[]>();
  for (const job of waiting) wanted.set(job.class, job.tags);
  for (const [key, entry] of Object.entries(ledger.classes))
    if (entry.state === 'creating' && !wanted.has(key)) wanted.set(key, entry.tags);
  const couldEver = satisfiable(turn, ledger);
  let room = limits.classes - Object.keys(ledger.classes).length;
  for (const [key, tags] of wanted) {
    const entry = ledger.classes[key];
    if (entry === undefined && !couldEver(tags)) continue;
    if (entry === undefined && room <= 0) {
      retireOldest(turn, wanted);
      continue;
    }
    if (entry === undefined) room -= 1;
    if (entry === undefined || entry.state === 'creating') create(turn, key, tags, entry);
  }
  for (const [key, entry] of Object.entries(ledger.classes)) age(turn, key, entry, wanted.has(key));
}

/** No runner is made for tags that no machine could ever satisfy: GitLab then rightly calls the job stuck. */
function satisfiable(turn: JobsTurn, ledger: Ledger): (tags: readonly string[]) => boolean {
  let machines: MachineView[] | null = null;
  return (tags) => {
    machines ??= machinesOf(viewOf(turn, ledger));
    return !place(demandOf(tags, ledger.settings.defaultArch), machines).never;
  };
}

function create(turn: JobsTurn, key: string, tags: readonly string[], entry: LedgerClass | undefined): void {
  const attempts = attemptsOf(turn.jobs, key);
  if (entry === undefined || attempts.nonce !== entry.nonce) {
    if (turn.at < attempts.createNotBefore) {
      wake(turn, attempts.createNotBefore);
      return;
    }
    const nonce = mint(turn, 'class');
    turn.edits.push(creatingClass(tags, nonce, turn.wallMs));
    return setAttempts(turn, key, {
      nonce,
      made: null,
      createAskedAt: Number.NEGATIVE_INFINITY,
      createNotBefore: turn.at + 1000,
    });
  }
  if (attempts.made !== null) {
    turn.edits.push(readyClass(key, entry.nonce, attempts.made.runner, attempts.made.token, turn.wallMs));
    return;
  }
  if (attempts.createAskedAt > Number.NEGATIVE_INFINITY) {
    wake(turn, attempts.createAskedAt + jobTimings.createLimitMs);
    if (turn.at < attempts.createAskedAt + jobTimings.createLimitMs) return;
    return createFailed(turn, key, 'GitLab did not answer within a minute');
  }
  const committed = turn.context.committed?.classes[key];
  if (committed?.state !== 'creating' || committed.nonce !== entry.nonce || !mayWrite(turn)) return;
  turn.effects.push({ kind: 'create-runner', class: key, tags: [...entry.tags], nonce: entry.nonce });
  wake(turn, turn.at + jobTimings.createLimitMs);
  return setAttempts(turn, key, { createAskedAt: turn.at });
}

function createFailed(turn: JobsTurn, key: string, because: string): void {
  const tries = attemptsOf(turn.jobs, key).createTries + 1;
  const wait = backoffMs(tries, 60_000);
  note(turn, {
    event: 'class-failed',
    level: 'warn',
    because: `no runner for ${shownClass(key)}: ${because}`,
    fields: { class: key },
  });
  wake(turn, turn.at + wait);
  return setAttempts(turn, key, {
    nonce: null,
    createTries: tries,
    createNotBefore: turn.at + wait,
    createBecause: because,
  });
}

export function runnerFailed(turn: JobsTurn, input: InputOf<'runner-failed'>): void {
  if (turn.jobs.lead === null || attemptsOf(turn.jobs, input.class).nonce !== input.nonce) return;
  return createFailed(turn, input.class, input.because);
}

export function runnerCreated(turn: JobsTurn, input: InputOf<'runner-created'>): void {
  const entry = turn.context.ledger?.classes[input.class];
  const isOurs = entry?.nonce === input.nonce;
  if (isOurs && entry.state !== 'creating') return;
  if (isOurs && turn.context.mayAct && attemptsOf(turn.jobs, input.class).nonce === input.nonce) {
    const made = { runner: input.runner, token: input.token };
    return setAttempts(turn, input.class, { made, createTries: 0, createBecause: null });
  }
  note(turn, {
    event: 'class-orphan',
    because: `runner ${input.runner} came too late for ${shownClass(input.class)}: it is deleted again`,
    fields: {
      runner: input.runner,
    },
  });
  turn.effects.push({ kind: 'delete-runner', class: input.class, runner: input.runner, nonce: input.nonce });
  return;
}

export function runnerDeleted(turn: JobsTurn, input: InputOf<'runner-deleted'>): void {
  const entry = turn.context.ledger?.classes[input.class];
  if (entry?.state === 'retiring' && turn.context.mayAct) turn.edits.push(goneClass(input.class));
  return;
}

const isInUse = (jobs: JobsState, ledger: Ledger, key: string): boolean =>
  Object.values(ledger.runs).some((run) => run.class === key && isOpen(run)) ||
  Object.values(jobs.lead?.grants ?? {}).some((grant) => grant.class === key);

/** From ready to gone, and the time of last use, which the ledger keeps to the hour. */
function age(turn: JobsTurn, key: string, entry: LedgerClass, isWanted: boolean): void {
  const { ledger, committed } = turn.context;
  if (ledger === null || entry.given) return;
  const attempts = attemptsOf(turn.jobs, key);
  if (entry.state === 'ready') {
    if (attempts.usedWallMs > entry.lastUsedAt + jobTimings.usedStepMs)
      turn.edits.push(usedClass(key, attempts.usedWallMs));
    else if (!isWanted && turn.wallMs - entry.lastUsedAt > jobTimings.unusedMs && !isInUse(turn.jobs, ledger, key))
      turn.edits.push(retiringClass(key, `no job asked for ${key === '' ? 'no tags' : shownClass(key)} for a day`));
    return;
  }
  if (entry.state !== 'retiring' || committed?.classes[key]?.state !== 'retiring') return;
  if (attempts.retiringSince === Number.NEGATIVE_INFINITY) {
    wake(turn, turn.at + jobTimings.retireWaitMs);
    return setAttempts(turn, key, { retiringSince: turn.at });
  }
  const dueAt = Math.max(
    attempts.retiringSince + jobTimings.retireWaitMs,
    attempts.deleteAskedAt + jobTimings.deleteAgainMs,
  );
  wake(turn, dueAt);
  if (turn.at < dueAt || isInUse(turn.jobs, ledger, key) || !mayWrite(turn)) return;
  if (entry.runner === null) {
    turn.edits.push(goneClass(key));
    return;
  }
  turn.effects.push({ kind: 'delete-runner', class: key, runner: entry.runner, nonce: entry.nonce });
  return setAttempts(turn, key, { deleteAskedAt: turn.at });
}

/** At the limit, the class that was unused the longest makes place for a new one. */
function retireOldest(turn: JobsTurn, wanted: ReadonlyMap<string, unknown>): void {
  const { ledger } = turn.context;
  if (ledger === null || Object.values(ledger.classes).some((entry) => entry.state === 'retiring')) return;
  const idle = Object.entries(ledger.classes)
    .filter(
      ([key, entry]) => entry.state === 'ready' && !entry.given && !wanted.has(key) && !isInUse(turn.jobs, ledger, key),
    )
    .sort(([, a], [, b]) => a.lastUsedAt - b.lastUsedAt);
  const oldest = idle[0];
  if (oldest)
    turn.edits.push(
      retiringClass(oldest[0], `there are ${limits.classes} classes, and this one was unused the longest`),
    );
}
