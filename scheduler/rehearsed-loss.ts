import type { NodeId } from '../protocol/ids.ts';
import type { Ledger } from '../protocol/ledger.ts';
import { hostingOf } from './hosting/hosted-edits.ts';
import { isOpen } from './jobs/jobs-state.ts';
import { listed, plural } from './phrases.ts';
import { hasQuorum, rankedVoters } from './raft/quorum.ts';
import { unseenIn } from './recovered.ts';
import { isHere, nodeName, type ViewInput } from './snapshot-view.ts';

/*
 * What a living mesh may be put through because a person wants to see it (SAFETY L11, L12, J1, H5). A leader that falls silent is
 * nothing that the rules do not know: it ceases to lead before the first connection ends, and is back by its own timer.
 */

export const rehearsalTimings = {
  /**
   * Longer than the long timeout, so that the others elect also where no look at its machine proves anything; shorter than a run may go
   * on without a word of a leader, than anything is called lost, and than what is left of a host's lease.
   */
  silentMs: 1750,
  /** Another leader is busy with what the last one left: so long after one rehearsal begins no other. */
  pauseMs: 60_000,
  /** For all that is to be seen, the old leader's return included. */
  watchMs: 20_000,
} as const;

/** Why the loss of who leads is not rehearsed now; null when it may be. */
export function whyNoLeaderLoss(view: ViewInput): string | null {
  const { ledger, accepted, leader } = view;
  if (ledger === null || accepted === null) return 'this machine has not got the ledger yet';
  if (leader === null) return 'no machine leads now: what happens is no rehearsal';
  const name = (node: NodeId): string => nodeName(ledger, node);
  if (accepted.configuration.next !== null) return 'who votes is being changed right now: ask again in a moment';
  const voters = rankedVoters(accepted.configuration);
  if (voters.length < 3)
    return `${plural(voters.length, 'machine')} of this mesh vote${voters.length === 1 ? 's' : ''}: without ${name(leader.node)} nothing could be decided until it is back`;
  const away = voters.filter((node) => node !== leader.node && !isHere(view, node));
  if (!hasQuorum(accepted.configuration, (node) => node !== leader.node && isHere(view, node)))
    return `${listed(away.map(name))} ${away.length === 1 ? 'does' : 'do'} not answer: without ${name(leader.node)} too few of the machines that vote are left to decide anything`;
  const unseen = unseenIn(ledger);
  if (unseen.length > 0)
    return `${listed(unseen.map(name))} did not come over since this mesh was recovered: jobs go on by GitLab's word alone until then`;
  return whyGitlabIsBusy(view, ledger);
}

/** What is under way with the mesh's own GitLab is not disturbed by somebody who only looks. */
export function whyGitlabIsBusy(view: ViewInput, ledger: Ledger): string | null {
  const hosting = hostingOf(ledger);
  if (hosting === null) return null;
  const name = (node: NodeId): string => nodeName(ledger, node);
  if (hosting.ending) return 'GitLab is being uninstalled: ask again when that is over';
  if (ledger.gitlab.url === null) return 'GitLab does not stand yet: ask again when it does';
  if (hosting.move) return `GitLab is moving to ${name(hosting.move.to)}: ask again when that is over`;
  if (hosting.upgrade) return 'GitLab is being upgraded: ask again when that is over';
  if (!isHere(view, hosting.host)) return `${name(hosting.host)}, which runs GitLab, does not answer`;
  return null;
}

/** Who watches: it has to be there all the time, and to have a vote, as others are told less often. Null: nobody could. */
export function watcherOf(view: ViewInput): NodeId | null {
  const { accepted, leader, self } = view;
  if (accepted === null || leader === null) return null;
  const able = rankedVoters(accepted.configuration).filter((node) => node !== leader.node && isHere(view, node));
  return able.includes(self) ? self : (able[0] ?? null);
}

/** Ids of the runs that are not over. */
export const openRuns = ({ runs }: Ledger): string[] =>
  Object.values(runs)
    .filter(isOpen)
    .map(({ run }) => run);

/** Jobs of those runs that were given up since. */
export const lostAmong = ({ runs }: Ledger, were: readonly string[]): number[] =>
  were.flatMap((id) => (runs[id]?.state === 'lost' ? [runs[id].job] : []));
