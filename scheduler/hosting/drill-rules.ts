import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { DrillSeen, DrillVerdict, Report } from '../../protocol/report.ts';
import { unheardReason } from '../jobs/machines.ts';
import { meshViewOf, nodeName, type ViewInput } from '../snapshot-view.ts';
import { hostSilentSince } from './beside-rules.ts';
import { hostingOf } from './hosted-edits.ts';
import { hostingTimings } from './hosting-timings.ts';

/*
 * When a machine tries GitLab from what it holds of it. By itself once a day, only where that is in nobody's way, and never on two
 * machines at once. All times by the wall clock, as they outlive an agent; one that was wrong makes a drill sooner, never later.
 */

export const drillTimings = {
  everyMs: 86_400_000,
  /** The first one, so long after the machine began to hold something: it is busy with the first copy before. */
  firstMs: 3_600_000,
  /** After one that was ended before its verdict, or could not begin. */
  againMs: 900_000,
  /** What failed may have been mended. */
  afterFailureMs: 6 * 3_600_000,
  /** Made later than that from now: by a clock that was wrong. */
  aheadMs: 3_600_000,
  /** One that begins is said so long before it does: another machine that begins at that moment is heard. */
  turnMs: 10_000,
} as const;

/** Each repository is read whole within so many drills. */
export const drillParts = 14;

export interface DrillsPast {
  /** Since when this machine holds something of it. */
  since: number;
  last: Pick<DrillVerdict, 'at' | 'isProven'> | null;
  /** The last that had no verdict. */
  ended: number | null;
}

export function isDrillDue({ since, last, ended }: DrillsPast, wallMs: number): boolean {
  const isOver = (at: number, ms: number): boolean => wallMs - at >= ms || wallMs - at < -drillTimings.aheadMs;
  if (!isOver(since, drillTimings.firstMs)) return false;
  if (ended !== null && (last === null || ended > last.at) && !isOver(ended, drillTimings.againMs)) return false;
  return last === null || isOver(last.at, last.isProven ? drillTimings.everyMs : drillTimings.afterFailureMs);
}

const isBusy = ({ runs, reserved }: Report): boolean => runs.length + reserved.length > 0;

/** What a machine says of its drills, whichever it is to that GitLab. */
export const drillOf = (report: Report | undefined, data: string): DrillSeen | null =>
  (report?.gitlab?.data === data ? report.gitlab.drill : undefined) ??
  (report?.standby?.data === data ? report.standby.drill : undefined) ??
  null;

/** Why this machine shall not begin one now; null when it may. `isAsked`: a person wants it, whoever sits at the machine. */
export function whyNoDrill(view: ViewInput, isAsked: boolean): string | null {
  const { ledger, self, jobs } = view;
  const hosting = hostingOf(ledger);
  if (ledger === null || hosting === null) return 'the mesh runs no GitLab itself';
  if (hosting.ending) return 'GitLab is being uninstalled';
  if (ledger.gitlab.url === null) return 'GitLab does not stand yet';
  const own = jobs.reports[self]?.report;
  if (own === undefined) return 'this machine has not measured itself yet';
  if (!own.measured.healthy) return `this machine is not well: ${own.measured.unhealthyBecause ?? 'it cannot work'}`;
  if (own.measured.paused === 'all') return own.measured.pausedBecause ?? 'this machine is paused by its owner';
  if (own.measured.owner === 'playing') return 'the owner of this machine is playing';
  const other = whoDrills(view, ledger, hosting.data);
  if (other !== null) return `${nodeName(ledger, other)} is at one`;
  if (isAsked) return null;
  if (own.measured.owner !== 'away') return 'the owner of this machine is there';
  if (isBusy(own)) return 'jobs of the mesh run on this machine';
  const away = hosting.host === self ? null : unheardReason(meshViewOf(view, ledger), hosting.host);
  // What it holds may be wanted at any moment.
  return away === null ? null : `${nodeName(ledger, hosting.host)}, which runs GitLab, is away`;
}

/** Another machine that is at one. */
function whoDrills({ jobs, self, liveness }: ViewInput, ledger: Ledger, data: string): NodeId | null {
  const others = Object.keys(jobs.reports).filter((node) => node !== self && ledger.nodes[node] !== undefined);
  const isAt = (node: NodeId): boolean =>
    drillOf(jobs.reports[node]?.report, data)?.doing != null && liveness(node).state === 'alive';
  return others.find(isAt) ?? null;
}

/** Two that were about to begin at the same moment: the one with the smaller id goes on. */
export function mustYield(view: ViewInput): boolean {
  const { ledger, self } = view;
  const hosting = hostingOf(ledger);
  const other = ledger && hosting && whoDrills(view, ledger, hosting.data);
  return other != null && other < self;
}

/** Jobs that wait, as the leader counts them. */
export const jobsWaiting = ({ jobs, leader }: ViewInput): number =>
  (leader && jobs.reports[leader.node]?.report.queue?.waiting) ?? 0;

/** Why one that is under way ends at once; null while it may go on. `waitedBefore`: jobs that waited when it began. */
export function whyEndDrill(view: ViewInput, isAsked: boolean, waitedBefore: number): string | null {
  const { ledger, self, jobs, at } = view;
  const hosting = hostingOf(ledger);
  if (hosting === null) return 'the mesh runs no GitLab any more';
  if (hosting.ending) return 'GitLab is being uninstalled';
  const since = hostSilentSince(view, hosting);
  // Long enough that this machine may be wanted, and it has room for one GitLab beside what it does (beside-rules.ts).
  if (since !== null && at - since >= hostingTimings.silentSaidMs)
    return `${nodeName(ledger, hosting.host)}, which runs GitLab, is silent: this machine may go on with it`;
  const own = jobs.reports[self]?.report;
  if (own?.measured.paused === 'all') return own.measured.pausedBecause ?? 'this machine is paused by its owner';
  if (own?.measured.owner === 'playing') return 'the owner of this machine plays';
  if (isAsked || own === undefined) return null;
  if (own.measured.owner !== 'away') return 'the owner of this machine is back';
  if (isBusy(own)) return 'a job of the mesh begins on this machine';
  return jobsWaiting(view) > waitedBefore ? 'a job waits for room' : null;
}
