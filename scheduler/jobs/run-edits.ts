import type { Rescue } from '../../protocol/job-fault.ts';
import type { Ledger, Run } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import type { LedgerEdit } from '../ledger-edit.ts';
import { cut } from '../phrases.ts';
import { utcDay } from './civil-time.ts';
import { jobTimings } from './job-timings.ts';
import { type AnnouncedRuns, isBusy, isOpen } from './jobs-state.ts';
import { sameRun } from './own-runs.ts';

/*
 * The ledger's runs follow what nodes say of their own, forwards only: taken -> running -> finished -> delivered. `lost`
 * is the leader's own word and final, but for one truth: a node whose result reached GitLab after all.
 */
const rank = { taken: 0, running: 1, finished: 2, delivered: 3, discarded: 3, lost: 3 } as const;

/** What the ledger shall say of a run after its node `said` this of it; the same object when nothing changes. */
function mergedRun(known: Run | undefined, said: Run, boot: string, wallMs: number): Run | undefined {
  if (known === undefined) {
    const fresh = isOpen(said) || wallMs - (said.finishedAt ?? said.takenAt) < jobTimings.endedFreshMs;
    return fresh && said.state !== 'lost' ? { ...said, boot } : undefined;
  }
  if (known.node !== said.node) return known;
  if (known.state === 'lost') return said.state === 'delivered' ? { ...said, boot: known.boot ?? boot } : known;
  if (said.state === 'lost') return known;
  if (known.boot !== undefined && known.boot !== boot && isBusy(said)) return known;
  // A leader of before takes no news of `held`; so its node says it once, and does not repeat itself until the ledger agrees.
  const isSame = sameRun(known, said) && known.held === said.held;
  if (rank[said.state] < rank[known.state] || isSame) return known;
  if (rank[known.state] === 3) return known;
  return { ...said, boot: known.boot ?? boot, ...(known.canceling ? { canceling: true } : {}) };
}

export function mergeRuns(ledger: Ledger, announced: Readonly<Record<string, AnnouncedRuns>>, wallMs: number): Ledger {
  let next = ledger;
  for (const [node, { boot, runs }] of Object.entries(announced))
    for (const run of runs) {
      if (run.node !== node || ledger.nodes[node] === undefined) continue;
      const known = next.runs[run.run];
      const merged = mergedRun(known, run, boot, wallMs);
      if (merged === undefined || merged === known) continue;
      next = counted({ ...next, runs: { ...next.runs, [run.run]: merged } }, known, merged, wallMs);
    }
  return next === ledger ? ledger : pruned(next, wallMs);
}

export const runsAnnounced = (announced: Readonly<Record<string, AnnouncedRuns>>, wallMs: number): LedgerEdit => ({
  name: 'runs-told',
  because: 'nodes told what they run',
  apply: (ledger) => mergeRuns(ledger, announced, wallMs),
});

/** What a run adds to the day: +1 done or failed when it ends; canceled and disowned ones count as neither. */
const verdict = (run: Run | undefined): 'done' | 'failed' | null => {
  if (run === undefined || isOpen(run)) return null;
  if (run.state === 'lost') return 'failed';
  if (run.state !== 'delivered' || run.result === null || run.result.state === 'canceled') return null;
  return run.result.state === 'success' ? 'done' : 'failed';
};

function counted(ledger: Ledger, before: Run | undefined, after: Run, wallMs: number): Ledger {
  const [was, is] = [verdict(before), verdict(after)];
  if (was === is) return ledger;
  const day = utcDay(wallMs);
  const tally = ledger.tally.day === day ? { ...ledger.tally } : { ...ledger.tally, day, done: 0, failed: 0 };
  if (was !== null) tally[was] = Math.max(0, tally[was] - 1);
  if (is !== null) tally[is] += 1;
  return { ...ledger, tally };
}

/** Keeps the newest ended runs, the fresh ones, and lost ones that somebody may still ask about. */
function pruned(ledger: Ledger, wallMs: number): Ledger {
  const over = Object.values(ledger.runs).filter((run) => !isOpen(run));
  if (over.length <= limits.runsKept) return ledger;
  const endedAt = (run: Run): number => run.finishedAt ?? run.takenAt;
  const oldest = [...over].sort((a, b) => endedAt(b) - endedAt(a)).slice(limits.runsKept);
  const drop = oldest.filter((run) => {
    const ageMs = wallMs - endedAt(run);
    return run.state === 'lost' ? ageMs > jobTimings.lostKeptMs : ageMs >= jobTimings.endedFreshMs;
  });
  if (drop.length === 0) return ledger;
  const dropped = new Set(drop.map((run) => run.run));
  return { ...ledger, runs: Object.fromEntries(Object.entries(ledger.runs).filter(([id]) => !dropped.has(id))) };
}

/** Committed before GitLab is told (SAFETY J1, J6). */
export const lostRun = (run: string, because: string, wallMs: number): LedgerEdit => ({
  name: 'run-lost',
  because,
  apply(ledger) {
    const known = ledger.runs[run];
    if (known === undefined || !isOpen(known)) return ledger;
    const lost: Run = { ...known, state: 'lost', finishedAt: wallMs, because: cut(because) };
    return pruned(counted({ ...ledger, runs: { ...ledger.runs, [run]: lost } }, known, lost, wallMs), wallMs);
  },
});

export const failedAtGitlab = (run: string, because: string): LedgerEdit => ({
  name: 'run-failed-at-gitlab',
  because,
  apply(ledger) {
    const known = ledger.runs[run];
    if (known?.state !== 'lost' || known.failedAtGitlab === true) return ledger;
    return { ...ledger, runs: { ...ledger.runs, [run]: { ...known, failedAtGitlab: true } } };
  },
});

/** Committed before GitLab is asked to cancel (SAFETY J3, J6). */
export const rescueWanted = (job: number, rescue: Rescue): LedgerEdit => ({
  name: 'rescue-wanted',
  because: rescue.because,
  apply(ledger) {
    const known = ledger.rescues ?? {};
    if (known[job] !== undefined || Object.keys(known).length >= limits.rescues) return ledger;
    return { ...ledger, rescues: { ...known, [job]: rescue } };
  },
});

export const rescueOver = (job: number, because: string): LedgerEdit => ({
  name: 'rescue-over',
  because,
  apply(ledger) {
    if (ledger.rescues?.[job] === undefined) return ledger;
    const { [job]: _over, ...rescues } = ledger.rescues;
    return { ...ledger, rescues };
  },
});

/** Marks a run as being canceled: its node learns of that from the ledger, sooner than from GitLab. */
export const runCanceling = (run: string): LedgerEdit => ({
  name: 'run-canceling',
  because: 'somebody cancels it at GitLab',
  apply(ledger) {
    const known = ledger.runs[run];
    if (known === undefined || !isOpen(known) || known.canceling === true) return ledger;
    return { ...ledger, runs: { ...ledger.runs, [run]: { ...known, canceling: true } } };
  },
});
