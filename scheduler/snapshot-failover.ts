import type { NodeId } from '../protocol/ids.ts';
import type { Ledger } from '../protocol/ledger.ts';
import type { Attention } from '../protocol/status.ts';
import { fitAmong, graceOf, type SuccessorKind, successorsOf, whyNoFailover } from './hosting/failover-rules.ts';
import { type Hosting, hostingOf } from './hosting/hosted-edits.ts';
import { hostingTimings } from './hosting/hosting-timings.ts';
import { listed, span } from './phrases.ts';
import { hasQuorum } from './raft/quorum.ts';
import { nodeName, type ViewInput } from './snapshot-view.ts';

type Foreseen = { to: NodeId; kind: SuccessorKind; graceMs: number; because: null } | { to: null; because: string };

/** So long a move that nobody wished stands among what a person should see. */
const movedMs = 86_400_000;

/** Where GitLab goes on if its host is silent, as seen from here, and after how long; or why nowhere. */
export function foreseen(view: ViewInput, ledger: Ledger, hosting: Hosting): Foreseen {
  const name = (node: NodeId): string => nodeName(ledger, node);
  const not = (because: string): Foreseen => ({ to: null, because });
  const { host, failover, move } = hosting;
  const why = whyNoFailover(ledger, hosting);
  if (why !== null) return not(why);
  const others = (node: NodeId): boolean => node !== host && isHere(view, node);
  if (!hasQuorum(ledger.configuration, others))
    return not(`without ${name(host)} too few of the machines that vote are left to decide anything`);
  const successors = successorsOf(hosting);
  const { fit, unfit } = fitAmong(ledger, successors);
  const to = fit.find((node) => isHere(view, node));
  if (to !== undefined) {
    const wasHeard = view.jobs.reports[host] !== undefined;
    const graceMs = move?.unplanned?.failed ? 0 : graceOf(ledger, hosting, successors, wasHeard);
    return { to, kind: successors.kind, graceMs, because: null };
  }
  const away = [...unfit, ...fit.map((node) => `${name(node)} does not answer`)];
  if (away.length > 0) return not(`${listed(away)}, and no other machine has all that it needs`);
  return not(failover?.wanted ? `${name(failover.wanted.to)} holds no copy` : 'no other machine has all that it needs');
}

const isHere = (view: ViewInput, node: NodeId): boolean => node === view.self || view.liveness(node).state === 'alive';

/** For the forecast, while its host is there. Null where nobody was asked to hold copies. */
export function failoverForecast(view: ViewInput, ledger: Ledger): { sentence: string; to: string | null } | null {
  const hosting = hostingOf(ledger);
  if (hosting === null) return null;
  const next = foreseen(view, ledger, hosting);
  if (next.to === null) return { sentence: `nothing moves by itself: ${next.because}`, to: null };
  const to = nodeName(ledger, next.to);
  return { sentence: `${to} goes on by itself after ${span(next.graceMs)}${heldWords(ledger, hosting)}`, to };
}

const heldWords = ({ nodes }: Ledger, { host }: Hosting): string =>
  nodes[host]?.left && nodes[host].backMs ? ', as it said that it would be back' : '';

/** While its host says nothing: what comes of it, and when. */
export function silenceWords(view: ViewInput, ledger: Ledger, since: number): string {
  const hosting = hostingOf(ledger);
  if (hosting === null) return 'GitLab is on no other machine';
  const next = foreseen(view, ledger, hosting);
  if (next.to === null) return `GitLab goes on nowhere else by itself: ${next.because}`;
  const { leader, at, wallMs } = view;
  if (leader === null) return 'nothing is decided while no machine leads';
  const leads = Math.max(0, wallMs - leader.sinceWallMs);
  const leftMs = Math.max(since + next.graceMs - at, hostingTimings.waitMs - leads, 0);
  const to = nodeName(ledger, next.to);
  return leftMs === 0
    ? `${to} takes GitLab over now, unless it is back`
    : `${to} takes GitLab over in ${span(Math.ceil(leftMs / 1000) * 1000)} unless it is back`;
}

/** What a person should know of moves that nobody wished. */
export function failoverLines(view: ViewInput, ledger: Ledger): Attention[] {
  const hosting = hostingOf(ledger);
  if (hosting === null) return [];
  const { failover, move, moved } = hosting;
  const name = (node: NodeId): string => nodeName(ledger, node);
  const lines: Attention[] = [];
  if (failover?.flag)
    lines.push({
      code: 'gitlab-flag',
      severity: 'fail',
      sentence: failover.flag,
      fix: 'autogit-node gitlab clear-flag',
    });
  if (move?.unplanned) {
    const { failed } = move.unplanned;
    const sentence = failed
      ? `${name(move.to)} could not bring GitLab up: ${failed}`
      : `${move.because}; ${name(move.to)} starts it`;
    const fix = failed ? `when that is mended: autogit-node gitlab take-over ${name(move.to)}` : null;
    lines.push({ code: 'gitlab-taken-over', severity: failed ? 'fail' : 'warn', sentence, fix });
  } else if (moved?.isUnplanned && moved.isDone && view.wallMs - moved.at <= movedMs)
    lines.push({ code: 'gitlab-taken-over', severity: 'warn', sentence: moved.because, fix: 'autogit-node gitlab' });
  return lines;
}
