import type { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { isCrowd } from '../crowd.ts';
import { jobTimings } from './job-timings.ts';

/** How often a node reports, ms: when something changed not more often than `gapMs`, and at least every `everyMs`. */
interface ReportPace {
  gapMs: number;
  everyMs: number;
}

const perNodeMs = jobTimings.reportLeastMs / limits.smallMesh;

/**
 * Every report costs every node a signature to check, so what reports cost together grows with the square of the nodes:
 * in a crowd each node says less often what has not changed.
 */
export function reportPace(nodes: number): ReportPace {
  const everyMs = Math.min(jobTimings.reportMostMs, Math.max(jobTimings.reportLeastMs, perNodeMs * nodes));
  return { gapMs: everyMs / 10, everyMs };
}

/** Who hears a node by its reports alone gives it up after so long, ms: one late report is no silence. */
export const reportPatienceMs = (nodes: number): number => 1.5 * reportPace(nodes).everyMs;

/**
 * Whether every node reports at once when somebody begins to lead; one that holds room for a grant does in any case
 * (SAFETY J5). Of a crowd the new leader has heard every report lately, as everybody has; and if all nodes said theirs anew,
 * one change of leader on machines that are short of processor time would make the work that causes the next one (thirty
 * agents on two cores changed leaders without end).
 */
export const isReportedAnew = (ledger: Ledger | null): boolean => ledger === null || !isCrowd(ledger);
