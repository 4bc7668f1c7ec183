import type { Change } from '../../protocol/changes.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { actsWith } from '../ledger-edit.ts';
import { find } from '../membership-names.ts';
import { rankedVoters } from './quorum.ts';
import { nameIn } from './raft-turn.ts';

/**
 * Who may ask for which change (SAFETY L17). What decides who is in the mesh, and whose jobs it runs, is a voter's act: it
 * knows the mesh's secrets anyway. A witness that does not vote, or a plain member, takes part and decides nothing.
 */
const votersActs: ReadonlySet<Change['kind']> = new Set([
  'approve',
  'forget',
  'connect-gitlab',
  'disconnect-gitlab',
  'deploy-gitlab',
  'uninstall-gitlab',
  'gitlab-certificate',
  'agree-copies',
  'set-vault',
  'notice-target',
  'quiet-hours',
  'notices-told',
  'move-gitlab',
  'start-gitlab-at',
  'clear-gitlab-flag',
  'protect-gitlab',
  'make-invite',
  'pair',
  'reseal',
]);

/** What only the machine that runs the mesh's GitLab can know. */
const hostsWords: ReadonlySet<Change['kind']> = new Set([
  'gitlab-stands',
  'gitlab-ended',
  'gitlab-restored',
  'gitlab-moved',
  'gitlab-move-stands',
  'gitlab-move-ends',
  'copies-begin',
  'copy-enters',
  'copies-leave',
]);

/** Null when it may ask for this. */
export function whyNot(ledger: Ledger, change: Change, asker: NodeId): string | null {
  if (!isItsOwn(change, asker)) return 'a node may say this of itself only';
  if (hostsWords.has(change.kind) && ledger.gitlab.mode === 'hosted' && ledger.gitlab.host !== asker)
    return "only the host of the mesh's GitLab may say this";
  if (change.kind === 'forget' && find(ledger.nodes, change.node) === asker)
    return `${nameIn(ledger, asker)} is this machine: autogit-node leave; to remove it, type forget on another machine`;
  const voters = rankedVoters(ledger.configuration);
  if (!votersActs.has(change.kind) || voters.includes(asker)) return null;
  const names = voters.map((node) => nameIn(ledger, node)).join(' or ');
  return `${nameIn(ledger, asker)} does not vote, and only a machine that does may do this: type it on ${names}`;
}

/** What a node says of itself, or of a newcomer that talks to it. */
function isItsOwn(change: Change, asker: NodeId): boolean {
  switch (change.kind) {
    case 'introduce':
    case 'depart':
      return change.node === asker;
    case 'open-approval':
    case 'approve-invited':
    case 'approve-paired':
      return change.approval.via === asker;
    case 'make-invite':
      return change.by === asker;
    default:
      return true;
  }
}

/** The ledger remembers the last acts that everybody should see, whoever sits where. */
export function withAct(before: Ledger, after: Ledger, change: Change, asker: NodeId, wallMs: number): Ledger {
  const sentence = before === after ? null : actSentence(before, change, nameIn(before, asker));
  if (sentence === null) return after;
  return { ...after, acts: actsWith(after, change.kind, sentence, wallMs) };
}

function actSentence(before: Ledger, change: Change, asker: string): string | null {
  if (change.kind === 'forget') {
    const node = find(before.nodes, change.node);
    const by = change.by === undefined || change.by === '' ? '' : ` by ${change.by}`;
    return `${node === null ? change.node : nameIn(before, node)} was removed from the mesh${by} (asked on ${asker})`;
  }
  if (change.kind === 'connect-gitlab') return `GitLab at ${change.url} was connected on ${asker}`;
  if (change.kind === 'disconnect-gitlab')
    return `GitLab at ${before.gitlab.url} is to be disconnected, as was asked on ${asker}`;
  if (change.kind === 'deploy-gitlab')
    return `GitLab was deployed on ${nameIn(before, change.host)}, as was asked on ${asker}`;
  if (change.kind === 'agree-copies')
    return `${nameIn(before, change.node)} ${change.agreed ? 'may hold copies of all of GitLab' : 'gets no copies of GitLab any more'}, as was asked on ${asker}`;
  if (change.kind === 'uninstall-gitlab') return `GitLab is to be uninstalled, as was asked on ${asker}`;
  if (change.kind === 'gitlab-certificate')
    return `the address of GitLab has another certificate, as was asked on ${asker}`;
  if (change.kind === 'protect-gitlab')
    return change.protected === null
      ? `no GitLab that runs without the mesh is backed up any more, as was asked on ${asker}`
      : `GitLab in container ${change.protected.container} on ${nameIn(before, change.protected.node)} is backed up by the mesh, as was asked on ${asker}`;
  if (change.kind === 'move-gitlab')
    return `GitLab is to move to ${nameIn(before, change.to)}, as was asked on ${asker}`;
  if (change.kind === 'gitlab-restored' || change.kind === 'gitlab-move-ends') return change.because;
  if (change.kind === 'notice-target' && change.file === undefined)
    return change.target === null
      ? `${change.name} is told nothing any more, as was asked on ${asker}`
      : `${change.name} is told when something is wrong (${change.target.shown}), as was asked on ${asker}`;
  if (change.kind === 'set-vault')
    return `backups of GitLab go ${change.vault === null ? 'nowhere any more' : `to ${change.vault.target}`}, as was asked on ${asker}`;
  return null;
}
