import type { Ledger, Run } from '../../protocol/ledger.ts';
import type { InputOf } from '../inputs.ts';
import { note } from '../note.ts';
import { wake } from '../part-turn.ts';
import { cut, span } from '../phrases.ts';
import { hasUnseen } from '../recovered.ts';
import { askingFor } from './asking.ts';
import { holdFor, mayBeRetriedTooSoon } from './class-hold.ts';
import { mayWrite } from './classes.ts';
import { jobTimings } from './job-timings.ts';
import { isOpen, isUntold, type Stray } from './jobs-state.ts';
import { type JobsTurn, nameOf, setLead } from './jobs-turn.ts';
import { awayReason, type MeshView, viewOf } from './machines.ts';
import { canReadQueue, hintQueue } from './queue.ts';
import { rescueOver, rescueWanted } from './run-edits.ts';

/*
 * Taken and forgotten (SAFETY J3): GitLab gave a job, and the answer or the node's disk was lost. Nobody has its token.
 * Every 15 s what GitLab calls running on our runners is compared with what anybody here owns; what nobody owns for
 * 20 s, while every node has spoken or is gone, is canceled and retried: as an intent in the ledger first, so that the next
 * leader goes on where this one stopped. Its script never began, so that is safe. Where a person had canceled such a job
 * (`canceling`, and no run of ours that would end it) it is only ended.
 */

export function askToCompare(turn: JobsTurn): void {
  const { lead } = turn.jobs;
  const { ledger, committed } = turn.context;
  if (lead === null || committed === null || !canReadQueue(ledger) || !mayWrite(turn)) return;
  const runners = Object.values(committed.classes)
    .filter((entry) => entry.runner !== null && entry.state !== 'creating')
    .map((entry) => entry.runner as number);
  if (runners.length === 0) return;
  const dueAt = lead.comparedAt + jobTimings.compareEveryMs;
  wake(turn, turn.at < dueAt ? dueAt : turn.at + jobTimings.compareEveryMs);
  if (turn.at < dueAt) return;
  turn.effects.push({ kind: 'compare-runs', runners });
  setLead(turn, { comparedAt: turn.at });
}

/**
 * Jobs that somebody here owns. Each of the three knows what the others do not: the ledger keeps runs of nodes that are
 * away, or that tell a new leader only later; nodes tell of runs that have ended since GitLab made its list; gossip comes
 * of a node that does not hear this leader. The leader's own runs are among what nodes tell: it tells itself, within the step.
 */
function owned(view: MeshView): Set<number> {
  const { jobs } = view;
  const own = new Set<number>();
  for (const run of Object.values(view.ledger.runs)) if (isOpen(run)) own.add(run.job);
  for (const announced of Object.values(jobs.announced)) for (const run of announced.runs) own.add(run.job);
  for (const { report } of Object.values(jobs.reports)) for (const run of report.runs) own.add(run.job);
  return own;
}

/** A lost run that GitLab was not yet told of is no stray: it is failed by its own token. */
const beingFailed = (view: MeshView): Set<number> =>
  new Set(
    Object.values(view.ledger.runs)
      .filter(isUntold)
      .map((run) => run.job),
  );

/**
 * An ordinary gitlab-runner has it, by the token of a class (`autogit-node fallback`): its script runs, and it is that runner's. Its system id
 * is of the machine (`s_…`, which no node of ours has), or the one that the fall-back gave it.
 */
const isOrdinary = ({ systemId }: Running): boolean => systemId !== null && /^(?:s_|r_fallback)/.test(systemId);

type Running = InputOf<'runs-compared'>['running'][number];

export function runsCompared(turn: JobsTurn, view: MeshView, input: InputOf<'runs-compared'>): void {
  const { lead } = turn.jobs;
  if (lead === null || !mayWrite(turn)) return;
  const own = owned(view);
  const failing = beingFailed(view);
  const strays: Record<number, Stray> = {};
  for (const running of input.running) {
    const { job } = running;
    if (isOrdinary(running)) continue;
    // The last of the three only keeps it from being said again: what is wanted already is not written twice anyway.
    if (own.has(job) || failing.has(job) || view.ledger.rescues?.[job] !== undefined) continue;
    const stray = lead.strays[job] ?? { since: turn.at, asking: askingOf(view, running.runner) };
    strays[job] = stray;
    rescueIfDue(turn, view, running, stray);
  }
  setLead(turn, { strays });
}

/** Grants of one of which the answer may be this very job. */
function askingOf({ ledger, jobs }: MeshView, runner?: number): string[] {
  return askingFor(jobs, ledger, (key) => runner === undefined || ledger.classes[key]?.runner === runner);
}

/** The same of all runners, of the machines that answer: a machine that is away holds no rescue up. */
function stillAsking(view: MeshView): Set<string> {
  const heard = Object.entries(view.jobs.reports).filter(([node]) => awayReason(view, node) === null);
  const here = { ...view, jobs: { ...view.jobs, reports: Object.fromEntries(heard) } };
  return new Set(askingOf(here));
}

/**
 * The run of it of which GitLab had the end, and has forgotten that: it was put back to a state of before, by a move to a copy or by
 * a restore (SAFETY J8). Another job of the same number, which such a GitLab gives again, began later than that ended.
 */
function endedHere({ runs }: Ledger, { job, startedAt }: Running): Run | null {
  const isMeant = (run: Run): boolean =>
    run.job === job && !isOpen(run) && run.state !== 'discarded' && (startedAt ?? 0) <= (run.finishedAt ?? run.takenAt);
  return Object.values(runs).findLast(isMeant) ?? null;
}

const forgotten = (turn: JobsTurn, { node, state, result }: Run): string =>
  `${state === 'lost' ? `and it was given up on ${nameOf(turn, node)}` : `though ${nameOf(turn, node)} had brought its result (${result?.state ?? 'unknown'})`}: GitLab was put back to a state of before`;

function rescueIfDue(turn: JobsTurn, view: MeshView, running: Running, stray: Stray): void {
  const { job, projectId, canceling } = running;
  if (turn.at - stray.since < jobTimings.strayMs) return;
  // A machine of the former era may own the job, and announces its runs to nobody here (SAFETY J1).
  if (hasUnseen(view.ledger)) return;
  const unheard = Object.keys(view.ledger.nodes).filter(
    (node) => awayReason(view, node) === null && (view.jobs.reports[node]?.at ?? 0) <= stray.since,
  );
  if (unheard.length > 0) return;
  const asking = stillAsking(view);
  if (stray.asking.some((grant) => asking.has(grant))) return;
  const is = `GitLab has called job ${job} ${canceling ? 'being canceled' : 'running'} for ${span(turn.at - stray.since)}`;
  const ended = endedHere(view.ledger, running);
  const because =
    ended === null ? `${is} and no node owns it: its script never began` : `${is}, ${forgotten(turn, ended)}`;
  const retry = canceling !== true && ended?.result?.state !== 'canceled';
  turn.edits.push(rescueWanted(job, { projectId, since: turn.wallMs, retry, because: cut(because) }));
  note(turn, { event: 'run-rescued', level: 'warn', because, fields: { job } });
}

/**
 * Repeats what is committed until GitLab has done it. Asked here again whether somebody owns the job, although nobody did
 * when it was written down: who was away then may have come back since, and ends it by itself first.
 */
export function tendRescues(turn: JobsTurn): void {
  const { ledger, committed } = turn.context;
  const wanted = Object.entries(committed?.rescues ?? {});
  if (wanted.length === 0 || turn.jobs.lead === null || ledger === null || !mayWrite(turn) || !canReadQueue(committed))
    return;
  const own = owned(viewOf(turn, ledger));
  let rescuing = turn.jobs.lead.rescuing;
  for (const [key, { projectId, retry, since, because }] of wanted) {
    const job = Number(key);
    const nextAt = rescuing[key]?.nextAt ?? Number.NEGATIVE_INFINITY;
    if (ledger.rescues?.[key] === undefined || own.has(job)) continue;
    if (turn.wallMs - since > jobTimings.rescueGiveUpMs) {
      turn.edits.push(
        rescueOver(job, `job ${job} could not be ended at GitLab for two hours: GitLab does that itself`),
      );
      continue;
    }
    wake(turn, turn.at < nextAt ? nextAt : turn.at + jobTimings.rescueAgainMs);
    if (turn.at < nextAt || mayBreatheBeside(turn, ledger, job)) continue;
    turn.effects.push({ kind: 'rescue-job', projectId, job, retry, because });
    rescuing = {
      ...rescuing,
      [key]: { nextAt: turn.at + jobTimings.rescueAgainMs, because: rescuing[key]?.because ?? '' },
    };
  }
  if (rescuing !== turn.jobs.lead.rescuing) setLead(turn, { rescuing });
}

/** It was given up here, GitLab was never told, and its machine may be away: what is tried again must not run beside it (SAFETY J1). */
function mayBreatheBeside(turn: JobsTurn, ledger: Ledger, job: number): boolean {
  const lost = Object.values(ledger.runs).find((run) => run.job === job && run.state === 'lost');
  if (lost === undefined) return false;
  holdFor(turn, lost);
  return mayBeRetriedTooSoon(turn, ledger, lost.run);
}

export function jobRescued(turn: JobsTurn, input: InputOf<'job-rescued'>): void {
  const { lead } = turn.jobs;
  if (lead === null || turn.context.ledger?.rescues?.[input.job] === undefined) return;
  const said = lead.rescuing[input.job];
  if (said?.because !== input.because)
    note(turn, {
      event: 'run-rescued',
      level: input.done ? 'info' : 'warn',
      because: `job ${input.job}: ${input.because}`,
      fields: { job: input.job },
    });
  const rescuing = {
    ...lead.rescuing,
    [input.job]: { nextAt: turn.at + jobTimings.rescueAgainMs, because: input.because },
  };
  if (input.done) turn.edits.push(rescueOver(input.job, input.because));
  setLead(turn, { rescuing });
  mayBreatheBeside(turn, turn.context.ledger, input.job);
  if (input.done) hintQueue(turn, 'a forgotten job was retried');
}
