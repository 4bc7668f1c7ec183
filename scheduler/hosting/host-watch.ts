import { limits } from '../../protocol/limits.ts';
import { note } from '../note.ts';
import { wake } from '../part-turn.ts';
import { span } from '../phrases.ts';
import { bootLearned, failoverSettled } from './failover-edits.ts';
import type { Hosting } from './hosted-edits.ts';
import type { HostingState } from './hosting-state.ts';
import { hostingTimings } from './hosting-timings.ts';
import type { HostingTurn } from './hosting-turn.ts';
import { wayBackOf } from './move-edits.ts';
import { isTrialOver } from './trial.ts';

type Watch = NonNullable<NonNullable<HostingState['lead']>['watch']>;

/** A boot that was seen later than this after its machine's silence tells nothing of that. */
const bootSeenMs = 60_000;

/** `at` since when GitLab's host has been silent, for this leader; null while it is there. Its agent may live, and ask for nothing. */
export function silentSince(turn: HostingTurn, now: Hosting): number | null {
  const { context, hosting, at } = turn;
  const { host, move } = now;
  const { since = at, askedAt = Number.NEGATIVE_INFINITY, named } = hosting.lead!;
  // Where it may go back that is done (lease-giving.ts), whoever is silent.
  const isInVain = context.ledger !== null && wayBackOf(context.ledger) === null && isTrialOver(turn, now);
  if (move?.unplanned?.failed !== undefined || isInVain) return at;
  if (host === context.self) return null;
  const { state, since: seen } = context.liveness(host);
  if (state === 'alive') return null;
  return Math.min(at, Math.max(seen, since, askedAt, named?.at ?? since));
}

/** What of its host outlives this look: how long it was away, which boot it is of, whether it has settled where it is. */
export function watchHost(turn: HostingTurn, now: Hosting): void {
  const { context, hosting, at } = turn;
  const lead = hosting.lead!;
  const known = lead.watch;
  const isSame = known?.node === now.host && known.epoch === now.epoch;
  const before: Watch = isSame
    ? known
    : { node: now.host, epoch: now.epoch, boot: known?.node === now.host ? known.boot : null, ...fresh };
  const since = silentSince(turn, now);
  const next = since === null ? there(turn, now, before) : away(turn, now, before, since);
  if (next !== known) hosting.lead = { ...lead, watch: next };
  wake(turn, at + (since === null ? 4 : 1) * hostingTimings.renewMs);
  if (context.ledger?.gitlab.hosted?.failover && next.calmSince !== null) settle(turn, now, next.calmSince);
}

const fresh = { silent: null, calmSince: null, isSaid: false } as const;

function there(turn: HostingTurn, now: Hosting, watch: Watch): Watch {
  const isUp = now.move === undefined;
  const calmSince = isUp ? (watch.calmSince ?? turn.at) : null;
  if (watch.isSaid) noteBack(turn, now, watch);
  return watch.isSaid || calmSince !== watch.calmSince ? { ...watch, calmSince, isSaid: false } : watch;
}

function away(turn: HostingTurn, now: Hosting, watch: Watch, from: number): Watch {
  const isSaid = turn.at - from >= hostingTimings.silentSaidMs;
  if (isSaid && !watch.isSaid) noteSilent(turn, now, from);
  return { ...watch, silent: { from, to: turn.at }, calmSince: null, isSaid: watch.isSaid || isSaid };
}

const nameOf = ({ context }: HostingTurn, { host }: Hosting): string => context.ledger?.nodes[host]?.name ?? host;

function noteSilent(turn: HostingTurn, now: Hosting, from: number): void {
  const because = `${nameOf(turn, now)}, which runs GitLab, is silent since ${span(turn.at - from)}`;
  note(turn, { event: 'gitlab-host-silent', level: 'warn', because, fields: { node: now.host, epoch: now.epoch } });
}

function noteBack(turn: HostingTurn, now: Hosting, { silent }: Watch): void {
  const because = `${nameOf(turn, now)}, which runs GitLab, is back after ${span(silent ? turn.at - silent.from : 0)}`;
  note(turn, { event: 'gitlab-host-back', because, fields: { node: now.host, epoch: now.epoch } });
}

function settle(turn: HostingTurn, now: Hosting, calmSince: number): void {
  const settledAt = calmSince + hostingTimings.settledMs;
  if (turn.at < settledAt) return wake(turn, settledAt);
  if (!now.failover?.flag && !now.failover?.wanted) turn.edits.push(failoverSettled(now));
}

/** A report of the host: of another boot than before, its machine was off or began anew, and took so long. */
export function hearHostReport(turn: HostingTurn, boot: string): void {
  const { hosting, at } = turn;
  const { lead } = hosting;
  const watch = lead?.watch;
  if (!lead || !watch || watch.boot === boot) return;
  const { silent } = watch;
  hosting.lead = { ...lead, watch: { ...watch, boot } };
  if (watch.boot === null || silent === null || at - silent.to > bootSeenMs) return;
  const tookMs = Math.round(silent.to - silent.from);
  if (tookMs >= 1000 && tookMs <= limits.holdMs) turn.edits.push(bootLearned(watch.node, tookMs));
}
