import type { NodeId } from '../protocol/ids.ts';
import type { Ledger } from '../protocol/ledger.ts';
import { compareRounds } from '../protocol/round-name.ts';
import type { Attention } from '../protocol/status.ts';
import { fitAmong, graceOf, type SuccessorKind, successorsOf, whyNoFailover } from './hosting/failover-rules.ts';
import { type Hosting, hostingOf } from './hosting/hosted-edits.ts';
import { hostingTimings } from './hosting/hosting-timings.ts';
import { listed, span } from './phrases.ts';
import { hasQuorum, rankedVoters } from './raft/quorum.ts';
import { isHere, nodeName, type ViewInput } from './snapshot-view.ts';

type Foreseen =
  | { to: NodeId; kind: SuccessorKind; graceMs: number; isPaused: boolean; because: null }
  | { to: null; because: string };

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
  if (!hasQuorum(ledger.configuration, others)) return not(tooFew(view, ledger, host));
  const successors = successorsOf(hosting);
  const { fit, unfit } = fitAmong(ledger, successors);
  const here = fit.filter((node) => isHere(view, node));
  // Whoever is in sync has all that is needed, whatever it is called.
  const behind = successors.kind === 'in-sync' ? [] : here.filter((node) => isOfBefore(view, hosting, node));
  const able = here.filter((node) => !behind.includes(node));
  // As it would say itself when it is asked.
  const isPaused = (node: NodeId): boolean => view.jobs.reports[node]?.report.measured.paused === 'all';
  const to = able.find((node) => !isPaused(node)) ?? able[0];
  if (to !== undefined) {
    const wasHeard = view.jobs.reports[host] !== undefined;
    const graceMs = move?.unplanned?.failed ? 0 : graceOf(ledger, hosting, successors, wasHeard);
    return { to, kind: successors.kind, graceMs, isPaused: isPaused(to), because: null };
  }
  if (behind.length > 0) return not(ofBeforeWords(ledger, hosting, behind));
  const away = [...unfit, ...fit.map((node) => `${name(node)} does not answer`)];
  const isComing = successors.nodes.some((node) => fit.includes(node) || ledger.nodes[node]?.left);
  const until = isComing ? ', until it is back' : '';
  if (away.length > 0) return not(`${listed(away)}, and no other machine has all that it needs${until}`);
  return not(failover?.wanted ? `${name(failover.wanted.to)} holds no copy` : 'no other machine has all that it needs');
}

/** By its own word it holds nothing but copies of data that were replaced since, by a restore or an upgrade. */
function isOfBefore({ jobs }: ViewInput, { data, epoch, copies }: Hosting, node: NodeId): boolean {
  const told = jobs.reports[node]?.report.standby;
  if (told?.data !== data || told.newest === null) return false;
  const base = copies?.bases[epoch];
  return base === undefined ? told.newest.round.epoch < epoch : compareRounds(told.newest.round, base) < 0;
}

function ofBeforeWords(ledger: Ledger, { host }: Hosting, behind: readonly NodeId[]): string {
  const names = listed(behind.map((node) => nodeName(ledger, node)));
  const lost = nodeName(ledger, host);
  return `${names} ${behind.length > 1 ? 'hold' : 'holds'} GitLab as it was before its data were last replaced (restore, upgrade), and no copy since; is ${lost} gone for good: gitlab uninstall, forget ${lost}, then gitlab adopt --data there`;
}

/** Who is left cannot decide that it goes on: of two machines one, or of three while one sleeps. */
function tooFew(view: ViewInput, ledger: Ledger, host: NodeId): string {
  const { nodes, configuration } = ledger;
  const others = Object.keys(nodes).filter((node) => node !== host);
  const name = (node: NodeId): string => nodeName(ledger, node);
  const [away, here] = [false, true].map((wanted) => others.filter((node) => isHere(view, node) === wanted).map(name));
  const left = rankedVoters(configuration).filter((node) => node !== host && isHere(view, node));
  const alone = left.length === 1 ? name(left[0]!) : null;
  const then = `${alone ?? 'whichever is left'} goes on only by autogit-node recover --force`;
  if (away!.length > 0)
    return `while ${listed(away!)} ${away!.length > 1 ? 'are' : 'is'} away, too few of the machines that vote are left without ${name(host)}, and ${then}`;
  if (here!.length === 1)
    return `of two machines one alone decides nothing, and ${then} (a third machine, however small, would let it go on by itself)`;
  return `without ${name(host)} too few of the machines that vote are left to decide anything, and ${then}`;
}

/** For the forecast, while its host is there. Null where nobody was asked to hold copies. */
export function failoverForecast(view: ViewInput, ledger: Ledger): { sentence: string; to: string | null } | null {
  const hosting = hostingOf(ledger);
  if (hosting === null) return null;
  const next = foreseen(view, ledger, hosting);
  if (next.to === null) return { sentence: `nothing moves by itself: ${next.because}`, to: null };
  const to = nodeName(ledger, next.to);
  const paused = next.isPaused ? ', though its owner has paused it' : '';
  return { sentence: `${to} goes on by itself after ${span(next.graceMs)}${heldWords(ledger, hosting)}${paused}`, to };
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
  // Who leads counts from its election at the earliest, and this machine may never have heard that host.
  const silentMs = Math.min(at - since, leads);
  const leftMs = Math.max(next.graceMs - silentMs, hostingTimings.waitMs - leads, 0);
  const to = nodeName(ledger, next.to);
  const when = leftMs === 0 ? 'now,' : `in ${span(Math.ceil(leftMs / 1000) * 1000)}`;
  return `${to} takes GitLab over ${when} unless it is back${besideWords(view, ledger, hosting, next.to)}`;
}

/** What machines boot meanwhile, each by its own word. */
function besideWords(view: ViewInput, ledger: Ledger, { data }: Hosting, to: NodeId): string {
  const { jobs, wallMs } = view;
  return Object.entries(jobs.reports)
    .filter(([node]) => isHere(view, node))
    .flatMap(([node, { report }]) => {
      const beside = report.standby?.data === data ? report.standby.beside : undefined;
      if (beside === undefined || ledger.nodes[node] === undefined) return [];
      const { since, round, isUp, waits } = beside;
      if (since === null || round === null)
        return waits === null || node !== to
          ? []
          : [`; ${nodeName(ledger, node)} boots it then, and not beforehand: ${waits}`];
      const how = isUp ? 'has it booted already' : `boots it since ${span(Math.max(0, wallMs - since))}`;
      return [`; ${nodeName(ledger, node)} ${how}, without network, of round ${round.epoch}.${round.number}`];
    })
    .join('');
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
