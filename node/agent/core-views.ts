import type { Misfit } from '../../protocol/job-asks.ts';
import type { JobRow, WhyAnswer } from '../../protocol/job-rows.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { jobRows, snapshot, type ViewInput, why } from '../../scheduler/snapshot.ts';
import { misfitsOf } from '../../scheduler/snapshot-attention.ts';
import type { CoreState } from '../../scheduler/state.ts';
import { committedLedger, leaderChangesOf, leaderOf, livenessOf, storeOf } from '../../scheduler/views.ts';

export interface CoreView {
  state: CoreState;
  at: number;
  wallMs: number;
}

/** The core's two halves, as the views of status, jobs and why want them. */
export function viewInput({ state, at, wallMs }: CoreView): ViewInput {
  const leader = leaderOf(state);
  return {
    at,
    wallMs,
    self: state.identity.node,
    jobs: state.jobs,
    ledger: committedLedger(state),
    accepted: state.raft.accepted,
    leader: leader && { node: leader.node, term: leader.term, sinceWallMs: wallMs - (at - leader.sinceAt) },
    leaderChanges: leaderChangesOf(state, at),
    liveness: (node) => livenessOf(state, node, at),
    storeOf: (node) => storeOf(state, node),
  };
}

export const statusOf = (view: CoreView): StatusSnapshot => snapshot(viewInput(view));

/** By the reports that they were made of: asked ten times a second while somebody watches, and reports come less often. */
const toldOf = new WeakMap<CoreState['jobs']['reports'], string>();

function toldIn(reports: CoreState['jobs']['reports']): string {
  const known = toldOf.get(reports);
  if (known !== undefined) return known;
  const told = Object.values(reports)
    .map(({ report: { node, measured, runs, queue } }) =>
      [
        node,
        measured.owner,
        measured.paused,
        measured.pausedBecause,
        runs.length,
        queue?.waiting,
        queue?.gitlab,
      ].join(),
    )
    .join(' ');
  toldOf.set(reports, told);
  return told;
}

/**
 * Each is another as soon as something is decided, somebody else leads, or a machine tells of its owner, its runs or the queue; not for
 * what it merely measures.
 */
export function pulseOf(state: CoreState | undefined): readonly unknown[] {
  if (state === undefined) return [];
  const leader = leaderOf(state);
  return [committedLedger(state), leader?.node, leader?.term, toldIn(state.jobs.reports)];
}

/** A machine of an earlier version would take the whole answer for broken if it held a state that it does not know. */
export const forOlder = (rows: readonly JobRow[]): JobRow[] =>
  rows.map((row): JobRow => (row.state === 'canceling' ? { ...row, state: 'running' } : row));

/** Queue and runs as this node knows them; only the leader knows the queue. */
export function jobRowsOf(view: CoreView): { rows: JobRow[]; waiting: number; running: number } {
  const rows = jobRows(viewInput(view), true);
  const count = (states: JobRow['state'][]): number => rows.filter((row) => states.includes(row.state)).length;
  return { rows, waiting: count(['waiting', 'granted']), running: count(['running', 'canceling']) };
}

/** Since when the job waits that waits longest, wall ms; null when none does. */
export function oldestQueuedAt(rows: readonly JobRow[]): number | null {
  const since = rows.filter(({ state }) => state === 'waiting').map(({ queuedAt }) => Date.parse(queuedAt ?? ''));
  const known = since.filter(Number.isFinite);
  return known.length === 0 ? null : Math.max(0, Math.min(...known));
}

/** Empty on a node that does not lead. */
export const misfitsIn = (view: CoreView): Misfit[] => misfitsOf(viewInput(view));

export const whyOf = (view: CoreView, job: number): WhyAnswer | null => why(viewInput(view), job);
