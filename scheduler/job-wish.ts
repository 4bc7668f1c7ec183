import type { NodeId } from '../protocol/ids.ts';
import type { JobWish } from '../protocol/job-asks.ts';
import type { JobRow } from '../protocol/job-rows.ts';
import type { Ledger } from '../protocol/ledger.ts';
import { nearWord } from './jobs/near-word.ts';
import { rankedVoters } from './raft/quorum.ts';
import type { ViewInput } from './snapshot-view.ts';

/*
 * What a person wants of one job: cancel it, or run it again. Done at GitLab by a machine that opens GitLab's admin token,
 * at any time and by anybody of the mesh, so each step looks at the job first: late or twice it changes nothing (SAFETY J6).
 */

/** Who is asked, one after the other: the leader knows what waits, every voter holds the token. */
export function askedForGitlab(ledger: Ledger, leader: NodeId | null, self: NodeId): NodeId[] {
  const voters = rankedVoters(ledger.configuration);
  const holders = voters.includes(self) ? [self, ...voters] : voters;
  return [...new Set([...(leader === null ? [] : [leader]), ...holders])];
}

export interface KnownJob {
  job: number;
  projectId: number;
  name: string;
}

/** A job that the mesh has to do with; null when this node knows none of that number. Only a leader knows what waits. */
export function findJob({ jobs, ledger }: ViewInput, job: number): KnownJob | null {
  const waiting = jobs.lead?.queue.jobs.find((one) => one.job === job);
  const runs = [...Object.values(ledger?.runs ?? {}), ...Object.values(jobs.own.runs)].filter((run) => run.job === job);
  const newest = runs.sort((a, b) => a.takenAt - b.takenAt).at(-1);
  if (newest) return { job, projectId: newest.projectId, name: newest.name };
  return waiting ? { job, projectId: waiting.projectId, name: waiting.name } : null;
}

/** `ask`: to be asked of GitLab. `done`: it is so already. */
type WishStep =
  | { kind: 'ask'; how: 'cancel' | 'force' | 'retry' }
  | { kind: 'done'; because: string }
  | { kind: 'refused'; because: string; hint: string };

/** How a refusal to retry reads that means: it has been done. */
export const triedAgain = 'was tried again already';

const ended = new Set(['success', 'failed', 'canceled', 'skipped']);

export function wishStep(
  { wish, force, job }: JobWish,
  name: string,
  now: { status: string; retried: boolean },
): WishStep {
  const which = `job ${job} (${name})`;
  const refused = (because: string, hint: string): WishStep => ({ kind: 'refused', because, hint });
  if (wish === 'cancel') {
    if (now.status === 'canceled') return { kind: 'done', because: `${which} is canceled already` };
    if (ended.has(now.status))
      return refused(`${which} has ended already: ${now.status}`, `to run it again: autogit-node retry ${job}`);
    if (now.status !== 'canceling') return { kind: 'ask', how: 'cancel' };
    if (force) return { kind: 'ask', how: 'force' };
    const how = `its after_script may still run; without waiting for it: autogit-node cancel ${job} --force`;
    return { kind: 'done', because: `${which} is being canceled already: ${how}` };
  }
  if (now.retried)
    return refused(`${which} ${triedAgain}`, 'look for the number of the newer one: autogit-node jobs --all');
  if (ended.has(now.status) && now.status !== 'skipped') return { kind: 'ask', how: 'retry' };
  if (now.status === 'skipped' || now.status === 'manual')
    return refused(`${which} has not run: it is ${now.status} in GitLab`, 'start it in GitLab');
  return refused(`${which} has not ended: it is ${now.status}`, `end it first: autogit-node cancel ${job}`);
}

/** What was done, for the person. `now`: how GitLab calls it afterwards. */
export function wishDone({ job }: JobWish, name: string, now: string, next: number | null): string {
  const which = `job ${job} (${name})`;
  if (next !== null) return `${which} runs again as job ${next}`;
  if (now === 'canceling')
    return `${which} is being canceled: its script ends within seconds, its after_script still runs`;
  return now === 'canceled' ? `${which} is canceled` : `${which} is to be canceled; GitLab calls it ${now} still`;
}

/** Jobs that wait or run. */
export const underWay: ReadonlySet<JobRow['state']> = new Set(['waiting', 'granted', 'running', 'canceling']);
const states: Record<JobWish['wish'], ReadonlySet<JobRow['state']>> = {
  cancel: underWay,
  retry: new Set(['failed', 'canceled', 'lost']),
};

const listOf = (some: readonly JobRow[]): string =>
  some.map(({ job, state, project, ref }) => `${job} (${state}, ${project}@${ref})`).join(', ');

function unknownName(rows: readonly JobRow[], name: string): string {
  const names = [...new Set(rows.map((row) => row.name))];
  const lower = name.toLowerCase();
  const near = names.find((one) => one.toLowerCase() === lower) ?? nearWord(name, names);
  return `the mesh knows no job called ${name}${near === null ? '' : `; did you mean ${near}?`}`;
}

/** To look at: the one of that name that waits or runs, else the newest. */
export function jobToShow(rows: readonly JobRow[], name: string): { job: number } | { refused: string } {
  const named = rows.filter((row) => row.name === name).sort((a, b) => b.job - a.job);
  const live = named.filter(({ state }) => underWay.has(state));
  if (live.length > 1)
    return { refused: `${live.length} jobs are called ${name}: ${listOf(live)}; say which by its number` };
  const chosen = live[0] ?? named[0];
  return chosen ? { job: chosen.job } : { refused: unknownName(rows, name) };
}

/** The one job of that name that can be meant: names come again in every pipeline. */
export function jobNamed(
  rows: readonly JobRow[],
  name: string,
  wish: JobWish['wish'],
): { job: number } | { refused: string } {
  const named = rows.filter((row) => row.name === name);
  const fits = named.filter(({ state }) => states[wish].has(state));
  const [first] = fits;
  if (first && fits.length === 1) return { job: first.job };
  if (first) return { refused: `${fits.length} jobs are called ${name}: ${listOf(fits)}; say which by its number` };
  if (named.length > 0)
    return {
      refused: `no job called ${name} ${wish === 'cancel' ? 'waits or runs' : 'has failed'}: ${listOf(named)}`,
    };
  return { refused: unknownName(rows, name) };
}
