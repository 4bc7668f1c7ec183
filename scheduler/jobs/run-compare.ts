import type { InputOf } from '../inputs.ts';
import { mayWrite } from './classes.ts';
import { isOpen, type JobsState, type Stray } from './jobs-state.ts';
import { awayReason, type Look } from './machines.ts';
import { canReadQueue } from './queue.ts';
import { note, type Turn, wake } from './turn.ts';
import { span } from './words.ts';

/*
 * Taken and forgotten (SAFETY J3): GitLab gave a job, and the answer or the node's disk was lost. Nobody has its token.
 * Every 15 s what GitLab calls running on our runners is compared with what anybody here owns; what nobody owns for
 * 20 s, while every node has spoken or is gone, is canceled and retried. Its script never began, so that is safe.
 */
export const compareEveryMs = 15_000;
export const strayMs = 20_000;
const rescueAgainMs = 60_000;

export function askToCompare(jobs: JobsState, turn: Turn): JobsState {
  const { lead } = jobs;
  const { ledger, committed } = turn.context;
  if (lead === null || committed === null || !canReadQueue(ledger) || !mayWrite(turn)) return jobs;
  const runners = Object.values(committed.classes)
    .filter((entry) => entry.runner !== null && entry.state !== 'creating')
    .map((entry) => entry.runner as number);
  if (runners.length === 0) return jobs;
  const dueAt = lead.comparedAt + compareEveryMs;
  wake(turn, turn.at < dueAt ? dueAt : turn.at + compareEveryMs);
  if (turn.at < dueAt) return jobs;
  turn.effects.push({ kind: 'compare-runs', runners });
  return { ...jobs, lead: { ...lead, comparedAt: turn.at } };
}

/** Jobs that somebody here owns, by the ledger, by the nodes' words and by their gossip. */
function owned(jobs: JobsState, look: Look): Set<number> {
  const own = new Set<number>();
  for (const run of Object.values(look.ledger.runs)) if (isOpen(run)) own.add(run.job);
  for (const told of Object.values(jobs.told)) for (const run of told.runs) own.add(run.job);
  for (const run of Object.values(jobs.own.runs)) own.add(run.job);
  for (const { report } of Object.values(jobs.reports)) for (const run of report.runs) own.add(run.job);
  return own;
}

/** A lost run that GitLab was not yet told of is no stray: it is failed by its own token. */
const beingFailed = (look: Look): Set<number> =>
  new Set(
    Object.values(look.ledger.runs)
      .filter((run) => run.state === 'lost' && run.failedAtGitlab !== true)
      .map((run) => run.job),
  );

export function runsCompared(jobs: JobsState, turn: Turn, look: Look, input: InputOf<'runs-compared'>): JobsState {
  const { lead } = jobs;
  if (lead === null || !mayWrite(turn)) return jobs;
  const own = owned(jobs, look);
  const failing = beingFailed(look);
  const strays: Record<number, Stray> = {};
  for (const running of input.running) {
    if (own.has(running.job) || failing.has(running.job)) continue;
    const known = lead.strays[running.job] ?? { since: turn.at, projectId: running.projectId, rescuedAt: null };
    strays[running.job] = rescue(turn, look, running.job, known);
  }
  return { ...jobs, lead: { ...lead, strays } };
}

function rescue(turn: Turn, look: Look, job: number, stray: Stray): Stray {
  if (turn.at - stray.since < strayMs) return stray;
  if (stray.rescuedAt !== null && turn.at - stray.rescuedAt < rescueAgainMs) return stray;
  const unheard = Object.keys(look.ledger.nodes).filter(
    (node) => awayReason(look, node) === null && (look.jobs.reports[node]?.at ?? 0) <= stray.since,
  );
  if (unheard.length > 0) return stray;
  const because = `GitLab has called job ${job} running for ${span(turn.at - stray.since)} and no node owns it: its script never began`;
  turn.effects.push({ kind: 'rescue-job', projectId: stray.projectId, job, because });
  note(turn, 'run-rescued', 'warn', because, { job });
  return { ...stray, rescuedAt: turn.at };
}
