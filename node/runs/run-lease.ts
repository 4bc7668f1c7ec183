import { sharedTimings } from '../../protocol/timings.ts';

/**
 * SAFETY J1, pure: a run may go on only while its node hears the leader, or GitLab answers 2xx for this very job. Cut off
 * from both it is frozen, because the mesh may give it up and GitLab may hand it to another; it thaws when GitLab says
 * that it is still ours, or the leader has been heard long enough to have said that it is not.
 */
export const leaseLimits = {
  /** ms without leader and GitLab after which a run stands still (D_r). */
  rightMs: sharedTimings.runLeaseMs,
  /** ms of the leader's silence after which GitLab is asked every `askMs`. */
  leaderSilentMs: 1_000,
  askMs: 500,
  /** ms that the leader must be heard again before its silence about the run counts as a yes. */
  leaderBackMs: 1_000,
} as const;

export interface LeaseView {
  /** Boot ms: now, the last proof that the leader leads, GitLab's last 2xx, the run's begin in this agent process. */
  atMs: number;
  leaderAtMs: number;
  gitlabAtMs: number;
  sinceMs: number;
  /** When the run was frozen; null while it is not. */
  frozenAtMs: number | null;
  /** GitLab was restored (J8), or the agent was away before the script began: only its own answer after this counts. */
  verifyFromMs: number | null;
  /** Since when the leader is heard without a break; Infinity while it is silent. */
  leaderBackAtMs: number;
}

export type Right = { mayGoOn: true } | { mayGoOn: false; because: string };

export function mayContinue(contact: LeaseView): Right {
  const { atMs, leaderAtMs, gitlabAtMs, sinceMs, frozenAtMs, verifyFromMs, leaderBackAtMs } = contact;
  if (verifyFromMs !== null && gitlabAtMs <= verifyFromMs)
    return { mayGoOn: false, because: 'GitLab has not confirmed yet that the run is still ours' };
  const heardAtMs = Math.max(leaderAtMs, gitlabAtMs, frozenAtMs === null ? sinceMs : Number.NEGATIVE_INFINITY);
  if (atMs - heardAtMs > leaseLimits.rightMs)
    return { mayGoOn: false, because: unheard(leaderAtMs, seconds(atMs - heardAtMs)) };
  if (frozenAtMs === null || gitlabAtMs > frozenAtMs) return { mayGoOn: true };
  if (atMs - leaderBackAtMs >= leaseLimits.leaderBackMs) return { mayGoOn: true };
  return { mayGoOn: false, because: 'contact is back, but nobody has confirmed the run yet' };
}

const unheard = (leaderAtMs: number, forSo: string): string =>
  leaderAtMs === Number.NEGATIVE_INFINITY
    ? `GitLab was not heard for ${forSo}, and no leader's word counts here yet`
    : `neither the leader nor GitLab was heard for ${forSo}`;

/** ms between signs of life to GitLab. */
export function signOfLifeMs(contact: Pick<LeaseView, 'atMs' | 'leaderAtMs' | 'frozenAtMs'>, usualMs: number): number {
  const isSilent = contact.atMs - contact.leaderAtMs > leaseLimits.leaderSilentMs;
  return isSilent || contact.frozenAtMs !== null ? leaseLimits.askMs : usualMs;
}

const seconds = (ms: number): string => (Number.isFinite(ms) ? `${(ms / 1000).toFixed(1)} s` : 'long');
