import { asSentence, type NodeId } from '../../protocol/ids.ts';
import type { HostedCopies } from '../../protocol/ledger-gitlab.ts';
import { limits } from '../../protocol/limits.ts';
import { jobTimings } from '../jobs/job-timings.ts';
import { type JobsTurn, setLead } from '../jobs/jobs-turn.ts';
import { type MeshView, unheardReason, viewOf } from '../jobs/machines.ts';
import type { LedgerEdit } from '../ledger-edit.ts';
import { gitlabWithCopies, withStandbys } from './copies-set.ts';
import { type Hosting, hostingOf } from './hosted-edits.ts';
import { hostingTimings } from './hosting-timings.ts';

/*
 * Which of the machines that a person named get the rounds of the mesh's GitLab (SAFETY H10). Whoever has begun stays: another
 * one costs a whole copy. So a machine that sleeps is a standby whose age is said, until it is gone for long and another one can.
 */

type Standby = HostedCopies['standbys'][number];

/** A machine that a person named, as the leader sees it; first the one that was named first. */
export interface Candidate {
  readonly node: NodeId;
  readonly name: string;
  /** Why it may hold none: no rounds go there from now on. */
  readonly barred: string | null;
  /** Why it can take none now, and for how long that has been so. */
  readonly unfit: string | null;
  readonly unfitMs: number;
  /** Whether GitLab's image runs on it as on the host; null: not known. */
  readonly isLikeHost: boolean | null;
}

export function chooseStandbys(candidates: readonly Candidate[], before: readonly Standby[]): Standby[] {
  const known = new Map(candidates.map((one) => [one.node, one]));
  const stays = before.filter(({ node }) => known.get(node)?.barred === null);
  const free = candidates
    .filter((one) => one.barred === null && one.unfit === null && !stays.some(({ node }) => node === one.node))
    .sort((a, b) => Number(b.isLikeHost ?? true) - Number(a.isLikeHost ?? true));
  const chosen = stays.map((one) => {
    const old = known.get(one.node) as Candidate;
    const next = old.unfitMs >= hostingTimings.standbyGoneMs ? free.shift() : undefined;
    return next ? { node: next.node, because: whyChosen(next, old) } : one;
  });
  for (const next of free.slice(0, limits.standbys - chosen.length))
    chosen.push({ node: next.node, because: whyChosen(next, null) });
  return chosen;
}

function whyChosen({ isLikeHost }: Candidate, old: Candidate | null): string {
  const place = old === null ? '' : `, in place of ${old.name}, which ${old.unfit}`;
  const other = isLikeHost === false ? '; of another architecture than the host: it could not run what it holds' : '';
  return asSentence(`a person named it, and it is well${place}${other}`);
}

export const candidatesOf = (view: MeshView, hosting: Hosting, unfitSince: (node: NodeId) => number): Candidate[] =>
  (hosting.copies?.agreed ?? []).map((node) => {
    const unfit = whyUnfit(view, hosting, node);
    const [arch, wanted] = [node, hosting.host].map((one) => view.jobs.reports[one]?.report.measured.arch);
    return {
      node,
      name: view.ledger.nodes[node]?.name ?? node,
      barred: whyBarred(view, hosting, node),
      unfit,
      unfitMs: unfit === null ? 0 : view.at - unfitSince(node),
      isLikeHost: arch === undefined || wanted === undefined ? null : arch === wanted,
    };
  });

function whyBarred({ ledger, jobs }: MeshView, { host }: Hosting, node: NodeId): string | null {
  const listed = ledger.nodes[node];
  if (listed === undefined) return 'is not in this mesh';
  if (node === host) return 'runs GitLab itself';
  if (listed.drained) return 'is drained';
  if (!listed.can?.includes('copies')) return 'runs an earlier version, which knows nothing of copies';
  return jobs.reports[node]?.report.copies === 'never' ? 'holds no copies, as its owner says' : null;
}

function whyUnfit(view: MeshView, { data }: Hosting, node: NodeId): string | null {
  const away = unheardReason(view, node);
  const report = view.jobs.reports[node]?.report;
  if (away !== null || report === undefined) return away;
  if (!report.measured.healthy) return `is not well: ${report.measured.unhealthyBecause ?? 'it cannot work'}`;
  const { standby } = report;
  return standby?.data === data && standby.problem !== null ? `says: ${standby.problem}` : null;
}

/** The leader's part. Without the host nobody could begin as a standby, and whoever stands by has what there is. */
export function tendStandbys(turn: JobsTurn): void {
  const { ledger } = turn.context;
  const hosting = hostingOf(ledger);
  if (ledger === null || hosting?.copies === undefined || hosting.ending) return;
  const { agreed, standbys: before, set } = hosting.copies;
  const view = viewOf(turn, ledger);
  const unfit = unfitNow(turn, view, hosting);
  const candidates = candidatesOf(view, hosting, (node) => unfit[node] ?? turn.at);
  const chosen = canBegin(turn, view, hosting)
    ? chooseStandbys(candidates, before)
    : before.filter(({ node }) => candidates.some((one) => one.node === node && one.barred === null));
  const nodes = chosen.map(({ node }) => node);
  const isSame = nodes.join() === before.map(({ node }) => node).join();
  // A leader of an earlier version forgets a machine, and leaves it here: let in anew, it would have to be named anew.
  const isGone = agreed.some((node) => ledger.nodes[node] === undefined);
  if (!isSame || isGone || set.members.some((node) => !nodes.includes(node)))
    turn.edits.push(standbysChosen(hosting.data, chosen));
}

/** A leader that has just begun hears first what all of them say: it would take whoever is the first to report. */
function canBegin(turn: JobsTurn, view: MeshView, { host, copies }: Hosting): boolean {
  if (unheardReason(view, host) !== null || !view.ledger.nodes[host]?.can?.includes('copies')) return false;
  const isEarly = turn.at < (turn.jobs.lead?.since ?? turn.at) + jobTimings.reportStaleMs;
  return !isEarly || (copies?.agreed ?? []).every((node) => view.jobs.reports[node] !== undefined);
}

/** Since when each standby can take no round, as far as this leader has seen. */
function unfitNow(turn: JobsTurn, view: MeshView, hosting: Hosting): Readonly<Record<NodeId, number>> {
  const known = turn.jobs.lead?.unfit ?? {};
  const nodes = (hosting.copies?.standbys ?? []).map(({ node }) => node);
  const unfit = nodes.filter((node) => whyUnfit(view, hosting, node) !== null);
  const isSame = unfit.length === Object.keys(known).length && unfit.every((node) => Object.hasOwn(known, node));
  if (isSame) return known;
  const now = Object.fromEntries(unfit.map((node) => [node, known[node] ?? turn.at]));
  setLead(turn, { unfit: now });
  return now;
}

const standbysChosen = (data: string, standbys: Standby[]): LedgerEdit => ({
  name: 'standbys-chosen',
  because: standbys.map(({ because }) => because).join('; '),
  apply(ledger) {
    const { hosted } = ledger.gitlab;
    if (hosted?.data !== data || hosted.copies === undefined) return ledger;
    const agreed = hosted.copies.agreed.filter((node) => ledger.nodes[node] !== undefined);
    const copies = { ...withStandbys(hosted.copies, standbys), agreed };
    return { ...ledger, gitlab: gitlabWithCopies(ledger.gitlab, copies) };
  },
});
