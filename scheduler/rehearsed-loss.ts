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

interface LeaderLossPlan {
  readonly because: null;
  readonly ledger: Ledger;
  readonly leader: NodeId;
  readonly term: number;
  /** Who votes beside it. */
  readonly others: readonly NodeId[];
  /** It has to be there all the time, and to have a vote, as others are told less often. */
  readonly watcher: NodeId;
}

/** How the loss of who leads is rehearsed now, or why it is not. */
export function planLeaderLoss(view: ViewInput): LeaderLossPlan | { readonly because: string } {
  const { ledger, accepted, leader, self } = view;
  const not = (because: string) => ({ because });
  if (ledger === null || accepted === null) return not('this machine has not got the ledger yet');
  if (leader === null) return not('no machine leads now: what happens is no rehearsal');
  const name = (node: NodeId): string => nodeName(ledger, node);
  const { configuration } = accepted;
  if (configuration.next !== null) return not('who votes is being changed right now: ask again in a moment');
  const voters = rankedVoters(configuration);
  if (voters.length < 3)
    return not(
      `${plural(voters.length, 'machine')} of this mesh vote${voters.length === 1 ? 's' : ''}: without ${name(leader.node)} nothing could be decided until it is back`,
    );
  const others = voters.filter((node) => node !== leader.node);
  const here = others.filter((node) => isHere(view, node));
  const away = others.filter((node) => !here.includes(node));
  if (!hasQuorum(configuration, (node) => here.includes(node)))
    return not(
      `${listed(away.map(name))} ${away.length === 1 ? 'does' : 'do'} not answer: without ${name(leader.node)} too few of the machines that vote are left to decide anything`,
    );
  const unseen = unseenIn(ledger);
  if (unseen.length > 0)
    return not(
      `${listed(unseen.map(name))} did not come over since this mesh was recovered: jobs go on by GitLab's word alone until then`,
    );
  const because = whyGitlabIsBusy(view, ledger);
  if (because !== null) return { because };
  const watcher = here.includes(self) ? self : here[0]!;
  return { because, ledger, leader: leader.node, term: leader.term, others, watcher };
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

/** Ids of the runs that are not over. */
export const openRuns = ({ runs }: Ledger): string[] =>
  Object.values(runs)
    .filter(isOpen)
    .map(({ run }) => run);

/** Jobs of those runs that were given up since. */
export const lostAmong = ({ runs }: Ledger, were: readonly string[]): number[] =>
  were.flatMap((id) => (runs[id]?.state === 'lost' ? [runs[id].job] : []));
