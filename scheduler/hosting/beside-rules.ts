import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { compareRounds, type RoundName, roundText } from '../../protocol/round-name.ts';
import { span } from '../phrases.ts';
import { hasQuorum } from '../raft/quorum.ts';
import { isHere, nodeName, type ViewInput } from '../snapshot-view.ts';
import { epochAfter } from './epochs.ts';
import { failoversMost, fitAmong, graceOf, successorsOf, whyNoFailover } from './failover-rules.ts';
import { type Hosting, hostedUrl, hostingOf } from './hosted-edits.ts';
import { hostingTimings } from './hosting-timings.ts';

/*
 * The boot beside the grace: a machine that would go on with GitLab starts it while the host's grace runs, on a clone and without
 * network. It decides that by itself, from its ledger and what it hears: nothing is asked of a leader, and nothing is told but in its
 * report. It gives no right to anything. Who hosts is the ledger's word (takeover.ts), and a clone of any other round is thrown away.
 */

export const besideTimings = {
  /** A silence of GitLab's host, before it is worth a boot. */
  afterMs: hostingTimings.silentSaidMs,
  /** So long before the grace ends at the earliest: a boot takes minutes, and a host that announced a reboot has ten of them. */
  leadMs: 300_000,
  /** So long after it ended nobody has taken GitLab over: nothing will. */
  lateMs: 600_000,
  /** After a boot for nothing, doubled with each more, up to the last. */
  againMs: 15_000,
  mostMs: 1_800_000,
  /** No boot beside for so long: how often that was for nothing counts no more. */
  calmMs: 3_600_000,
} as const;

/** When the owner of a machine lets it boot beside: also while he plays or has it paused; else; never. */
export type BesideWish = 'always' | 'auto' | 'never';

/** ms after a boot beside for nothing until the next may begin; `vain`: how many there were in a row. */
export const besideWaitMs = (vain: number): number =>
  vain === 0 ? 0 : Math.min(besideTimings.againMs * 2 ** Math.min(vain - 1, 16), besideTimings.mostMs);

export const neverWords = 'its owner wants no GitLab booted on it beforehand';

/** ms of silence after which it begins. */
export const besideFromMs = (graceMs: number): number =>
  Math.max(besideTimings.afterMs, graceMs - besideTimings.leadMs);

/** Why that machine would not boot beside, by its own word; null when it would. */
export function whyNotBeside({ jobs }: Pick<ViewInput, 'jobs'>, node: NodeId, data: string): string | null {
  const standby = jobs.reports[node]?.report.standby;
  if (standby?.data !== data || standby.beside === undefined) return 'it runs an earlier version, or has not told yet';
  return standby.beside.waits;
}

/** `at` since when this machine hears nothing of GitLab's host; null while it does, or never has. */
export function hostSilentSince(view: ViewInput, { host }: Hosting): number | null {
  if (host === view.self) return null;
  const { state, since } = view.liveness(host);
  return state === 'alive' || !Number.isFinite(since) ? null : since;
}

/** Whom the leader will name, as seen from here: of those that may go on, and whose owner has not paused it, who says that it has the newest round. */
function chosen(view: ViewInput, ledger: Ledger, hosting: Hosting): NodeId | null {
  const isPaused = (node: NodeId): boolean => view.jobs.reports[node]?.report.measured.paused === 'all';
  const newest = (node: NodeId): RoundName | null => {
    const standby = view.jobs.reports[node]?.report.standby;
    return standby?.data === hosting.data ? (standby.newest?.round ?? null) : null;
  };
  const { fit } = fitAmong(ledger, successorsOf(hosting));
  const here = fit.filter((node) => isHere(view, node));
  const free = here.filter((node) => !isPaused(node));
  return (free.length > 0 ? free : here).reduce<NodeId | null>((top, node) => {
    const [best, one] = [top === null ? null : newest(top), newest(node)];
    return top === null || (one !== null && (best === null || compareRounds(one, best) > 0)) ? node : top;
  }, null);
}

/** What its owner is at comes first. */
function whyOwner(view: ViewInput, wish: BesideWish): string | null {
  const own = view.jobs.reports[view.self]?.report.measured;
  if (own === undefined) return 'this machine has not measured itself yet';
  if (wish === 'always') return null;
  if (own.paused === 'all') return own.pausedBecause ?? 'this machine is paused by its owner';
  return own.owner === 'playing' ? 'the owner of this machine is playing' : null;
}

/**
 * Whether this machine shall boot GitLab beside the grace of its host now. Null: it is not the time, or not this machine's matter;
 * `because`: it would be, and why it does not; null: it shall.
 */
export function besideTurn(view: ViewInput, wish: BesideWish): { because: string | null } | null {
  const { ledger, self, at } = view;
  const hosting = hostingOf(ledger);
  const since = hosting && hostSilentSince(view, hosting);
  if (ledger === null || hosting === null || since === null) return null;
  const isDecided = hosting.move?.unplanned?.failed !== undefined || whyNoFailover(ledger, hosting) !== null;
  if (isDecided || (hosting.failover?.count ?? 0) >= failoversMost) return null;
  const graceMs = graceSeen(view, ledger, hosting);
  const endsAt = since + graceMs;
  if (at < since + besideFromMs(graceMs)) return null;
  if (at >= endsAt + besideTimings.lateMs || chosen(view, ledger, hosting) !== self) return null;
  const others = (node: NodeId): boolean => node !== hosting.host && isHere(view, node);
  // Cut off itself it hears of nobody.
  if (view.leader === null || !others(view.leader.node) || !hasQuorum(ledger.configuration, others)) return null;
  if (wish === 'never') return { because: neverWords };
  return { because: whyOwner(view, wish) };
}

/** The leader may have been switched on later than this machine, and give more: the boot is ready earlier then. */
const graceSeen = (view: ViewInput, ledger: Ledger, hosting: Hosting): number =>
  graceOf(ledger, hosting, successorsOf(hosting), view.jobs.reports[hosting.host] !== undefined);

/** For which GitLab one is booted beside. */
export interface Beside {
  readonly data: string;
  /** The ledger's when it began, and the one in which it would serve. */
  readonly epoch: number;
  readonly next: number;
  readonly round: RoundName;
  /** All of the ledger that its container was made of. */
  readonly spec: string;
}

/** What of the ledger a container is made of: one that was made of something else is not this hosting's. */
export const specOf = (hosting: Hosting): string =>
  JSON.stringify([hosting.image, hosting.preset, hostedUrl(hosting), hosting.hostname, hosting.sshPort]);

export const besideOf = (ledger: Ledger, next: Hosting, round: RoundName): Beside => ({
  ...{ data: next.data, epoch: ledger.gitlab.epoch, next: epochAfter(ledger), round, spec: specOf(next) },
});

/**
 * Why this is not the GitLab that the ledger has go on here: it is thrown away then, and GitLab is booted anew. Null where it is the
 * one, to the round: nothing else of what was promised may be served (SAFETY H10).
 */
export function whyNotThat(beside: Beside, ledger: Ledger | null, self: NodeId): string | null {
  const hosting = hostingOf(ledger);
  if (hosting === null || hosting.host !== self || hosting.data !== beside.data) return 'GitLab does not go on here';
  if (hosting.epoch !== beside.next) return `GitLab goes on in epoch ${hosting.epoch}, and this was for ${beside.next}`;
  const base = hosting.copies?.bases[hosting.epoch];
  if (base === undefined || compareRounds(base, beside.round) !== 0)
    return `GitLab goes on with ${base === undefined ? 'no round' : `round ${roundText(base)}`}, and this was of ${roundText(beside.round)}`;
  if (specOf(hosting) !== beside.spec) return 'GitLab goes on with other settings than it was booted with';
  return null;
}

/** Why one that was booted beside ends, whether or not it is up; null while it may be needed. `newest`: the round here now. */
export function whyEndBeside(
  view: ViewInput,
  wish: BesideWish,
  beside: Beside,
  newest: RoundName | null,
): { because: string; isVain: boolean } | null {
  const { ledger, self, at } = view;
  const hosting = hostingOf(ledger);
  const vain = (because: string) => ({ because, isVain: true });
  if (ledger === null || hosting === null || hosting.host === self || ledger.gitlab.epoch !== beside.epoch) {
    const why = whyNotThat(beside, ledger, self);
    return why === null ? null : vain(why);
  }
  const name = nodeName(ledger, hosting.host);
  const since = hostSilentSince(view, hosting);
  if (since === null) return vain(`${name} is back`);
  const why = whyNoFailover(ledger, hosting) ?? whyOwner(view, wish);
  if (why !== null) return vain(why);
  if (at >= since + graceSeen(view, ledger, hosting) + besideTimings.lateMs)
    return vain(`${name} is silent for ${span(at - since)}, and nobody takes GitLab over`);
  if (newest !== null && compareRounds(newest, beside.round) !== 0)
    return { because: `round ${roundText(newest)} has come since`, isVain: false };
  return null;
}
