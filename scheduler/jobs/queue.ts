import { classKey } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import type { QueuedJob } from '../../protocol/queued-job.ts';
import type { InputOf } from '../inputs.ts';
import { note } from '../note.ts';
import { wake } from '../part-turn.ts';
import { span } from '../phrases.ts';
import { backoffMs, jobTimings } from './job-timings.ts';
import { isOpen, type JobsState, type LeadState, type QueueState, type WaitingJob } from './jobs-state.ts';
import { type JobsTurn, setLead } from './jobs-turn.ts';
import { runCanceling } from './run-edits.ts';

/*
 * The leader reads GitLab's queue without taking anything (DESIGN §7): every second while work waits or is expected,
 * every three when idle, at once on a hint. Never two reads at a time; a failing GitLab is asked less and less.
 */

export const canReadQueue = (ledger: Ledger | null): boolean =>
  ledger !== null && ledger.gitlab.mode !== 'none' && ledger.gitlab.url !== null && ledger.gitlab.token !== null;

const setQueue = (turn: JobsTurn, lead: LeadState, change: Partial<QueueState>): void =>
  setLead(turn, { queue: { ...lead.queue, ...change } });

/** Look at once, or as soon as the read under way is answered. `answers`: GitLab surely does, whatever failed before. */
export function hintQueue(turn: JobsTurn, because: string, answers = false): void {
  const { lead } = turn.jobs;
  if (lead === null) return;
  if (lead.queue.askedAt !== null) return setQueue(turn, lead, { again: because });
  if (lead.queue.failures > 0 && !answers) return;
  const earliest = Math.max(turn.at, lead.queue.freshAt + jobTimings.hintGapMs);
  if (lead.queue.nextAt <= earliest) return;
  return setQueue(turn, lead, { nextAt: earliest, because });
}

/** Another GitLab, or another token: what was seen and what failed before says nothing about it. */
export function queueOfNewGitlab(turn: JobsTurn): void {
  const { lead, seen } = turn.jobs;
  const [was, is] = [seen.ledger?.gitlab, turn.context.ledger?.gitlab];
  if (lead === null || was === undefined || is === undefined || was === is) return;
  if (was.url === is.url && was.token === is.token && was.instance === is.instance) return;
  const again = lead.queue.askedAt === null ? null : 'GitLab was connected anew';
  const fresh = { jobs: [], nextAt: turn.at, because: 'GitLab was connected', failures: 0, failingSince: null };
  return setQueue(turn, lead, { ...fresh, failedBecause: null, again });
}

export function tendQueue(turn: JobsTurn): void {
  const { lead } = turn.jobs;
  // The shell reads with what is committed (SAFETY L1).
  if (lead === null || !canReadQueue(turn.context.committed)) return;
  const { queue } = lead;
  if (queue.askedAt !== null) {
    if (turn.at < queue.askedAt + jobTimings.readLimitMs) {
      wake(turn, queue.askedAt + jobTimings.readLimitMs);
      return;
    }
    return queueFailed(turn, `GitLab did not show its queue within ${span(jobTimings.readLimitMs)}`);
  }
  if (turn.at < queue.nextAt) {
    wake(turn, queue.nextAt);
    return;
  }
  turn.effects.push({ kind: 'read-queue', because: queue.because });
  wake(turn, turn.at + jobTimings.readLimitMs);
  return setQueue(turn, lead, { askedAt: turn.at, again: null });
}

export function queueRead(turn: JobsTurn, input: InputOf<'queue-read'>): void {
  const { lead } = turn.jobs;
  if (lead === null || lead.queue.askedAt === null) return;
  if (lead.queue.failures > 0)
    note(turn, { event: 'gitlab-state', because: 'GitLab answers again', fields: { from: 'degraded', to: 'healthy' } });
  markCanceling(turn, new Set(input.canceling ?? []));
  // Of a GitLab that was disconnected while it was read nothing waits here, and nobody would read again.
  const jobs = canReadQueue(turn.context.committed) ? input.jobs : [];
  const oldestFirst = [...jobs].sort((a, b) => a.queuedAt - b.queuedAt || a.job - b.job);
  const expected = jobs.length > 0 || isWorkExpected(lead, turn);
  const { again, askedAt } = lead.queue;
  forgetPhantoms(turn, lead, jobs);
  const keys = new Map<string, string>();
  // Thousands wait for a few classes, and each is looked up by its key again and again: one string a class is found much faster.
  const keyOf = (tags: readonly string[]): string => {
    const key = classKey(tags);
    const known = keys.get(key);
    if (known === undefined) keys.set(key, key);
    return known ?? key;
  };
  return setQueue(turn, lead, {
    jobs: oldestFirst.slice(0, limits.queueJobs).map((job) => ({ ...job, class: keyOf(job.tags) })),
    complete: input.complete && input.jobs.length <= limits.queueJobs,
    freshAt: askedAt ?? turn.at,
    askedAt: null,
    again: null,
    nextAt: again === null ? turn.at + (expected ? jobTimings.busyPollMs : jobTimings.idlePollMs) : turn.at,
    because: again ?? (expected ? 'work waits or runs' : 'nothing waits'),
    failures: 0,
    failingSince: null,
    failedBecause: null,
  });
}

/** Those that GitLab does not show any more. */
function forgetPhantoms(turn: JobsTurn, { phantoms }: LeadState, shown: readonly QueuedJob[]): void {
  const all = Object.entries(phantoms);
  if (all.length === 0) return;
  const jobs = new Set(shown.map(({ job }) => job));
  const left = all.filter(([job]) => jobs.has(Number(job)));
  if (left.length < all.length) setLead(turn, { phantoms: Object.fromEntries(left) });
}

/** Marks runs that GitLab calls `canceling`: their nodes learn of that from the ledger. */
function markCanceling(turn: JobsTurn, canceling: ReadonlySet<number>): void {
  for (const run of Object.values(turn.context.ledger?.runs ?? {}))
    if (canceling.has(run.job) && isOpen(run) && run.canceling !== true) turn.edits.push(runCanceling(run.run));
}

/** Not waiting for GitLab to show it: an old one may call the job canceled at once, and its script says nothing. */
export function cancelAsked(turn: JobsTurn, job: number): void {
  if (turn.jobs.lead === null || !turn.context.mayAct) return;
  markCanceling(turn, new Set([job]));
  return hintQueue(turn, 'a job was canceled');
}

/** Running jobs end, and their pipelines go on. */
const isWorkExpected = (lead: LeadState, turn: JobsTurn): boolean =>
  Object.keys(lead.grants).length > 0 || Object.values(turn.context.ledger?.runs ?? {}).some(isOpen);

export function queueFailed(turn: JobsTurn, because: string, isRefused = false): void {
  const { lead } = turn.jobs;
  if (lead === null || lead.queue.askedAt === null) return;
  const failures = lead.queue.failures + 1;
  const wait = backoffMs(failures - 1);
  if (failures === 1)
    note(turn, {
      event: 'gitlab-state',
      level: 'warn',
      because: `GitLab's queue cannot be read: ${because}`,
      fields: {
        from: 'healthy',
        to: 'degraded',
        because,
      },
    });
  wake(turn, turn.at + wait);
  return setQueue(turn, lead, {
    askedAt: null,
    again: null,
    nextAt: turn.at + wait,
    because: `the last look failed ${span(wait)} ago`,
    failures,
    failingSince: lead.queue.failingSince ?? turn.at,
    failedBecause: because,
    isRefused,
  });
}

/** A read that was asked before a run ended may still show its job as waiting. A clock that is a minute ahead hides nothing. */
const isBefore = (readAtMs: number, endedAtMs: number): boolean =>
  readAtMs - endedAtMs < jobTimings.clockSlackMs && endedAtMs - readAtMs < 60_000;

/** Waiting jobs, oldest first, without those that a run of ours already is. */
export function waitingJobs(
  jobs: JobsState,
  ledger: Ledger,
  { at: atMs, wallMs }: { at: number; wallMs: number },
): WaitingJob[] {
  const lead = jobs.lead;
  if (lead === null || lead.queue.jobs.length === 0) return [];
  const taken = new Set<number>();
  const readAtMs = wallMs - (atMs - lead.queue.freshAt);
  const announced = Object.values(jobs.announced).flatMap((one) => one.runs);
  for (const run of [...Object.values(ledger.runs), ...announced, ...Object.values(jobs.own.runs)])
    if (isOpen(run) || isBefore(readAtMs, run.finishedAt ?? run.takenAt)) taken.add(run.job);
  return lead.queue.jobs.filter((job) => !taken.has(job.job));
}
