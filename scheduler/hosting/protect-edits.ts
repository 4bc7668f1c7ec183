import type { Change } from '../../protocol/changes.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { whichVoterIsOlder } from '../disconnecting.ts';
import type { Refusal } from '../ledger-edit.ts';
import { rankedVoters } from '../raft/quorum.ts';

type Wanted = NonNullable<(Change & { kind: 'protect-gitlab' })['protected']>;

/** Why that GitLab cannot be protected; null when nothing in the ledger speaks against it. */
export function whyNotProtect(ledger: Ledger, wanted: Pick<Wanted, 'node' | 'folder'>): string | null {
  const { nodes, gitlab } = ledger;
  const node = nodes[wanted.node];
  if (!node) return `${wanted.node} is no machine of this mesh`;
  if (gitlab.mode === 'hosted')
    return 'this mesh runs its own GitLab, and backs that up: autogit-node gitlab backup --to TARGET';
  const known = gitlab.protected;
  if (known && (known.node !== wanted.node || known.folder !== wanted.folder))
    return `this mesh protects the GitLab in container ${known.container} on ${nodes[known.node]?.name ?? known.node} already, and one at a time: autogit-node gitlab protect --end first`;
  const unable = whyNoVote(ledger, wanted.node);
  if (unable !== null) return unable;
  // Any voter may have to lead, and that machine has to do it.
  return whichVoterIsOlder(ledger, [wanted.node], 'protect', 'knows nothing of a GitLab that runs without the mesh');
}

/** What opens the backups is sealed for those who vote. */
function whyNoVote({ nodes, configuration }: Ledger, node: NodeId): string | null {
  const voters = rankedVoters(configuration);
  const one = nodes[node];
  if (!one || voters.includes(node)) return null;
  const says = `${one.name} does not vote, and only machines that do open the key of the backups`;
  if (one.left) return `${one.name} is away: start its agent first`;
  if (one.drained) return `${says}: autogit-node undrain ${one.name}`;
  if (voters.length < limits.voters)
    return `${says}; it does so in a moment if its agent runs: autogit-node status -o wide`;
  const other = voters.findLast((voter) => !nodes[voter]?.drained) ?? node;
  const name = nodes[other]?.name ?? other;
  return `${says}; ${limits.voters} do so already, and it takes the place of one that is drained until then: autogit-node drain ${name}`;
}

export function protect(
  ledger: Ledger,
  { protected: wanted, because }: Change & { kind: 'protect-gitlab' },
  wallMs: number,
): Ledger | Refusal {
  const { protected: known, ...gitlab } = ledger.gitlab;
  if (wanted === null) return known === undefined ? ledger : { ...ledger, gitlab };
  const refused = whyNotProtect(ledger, wanted);
  if (refused !== null) return { refused };
  // Asked again, its backups go on under the name that they have.
  if (known?.container === wanted.container && known.keeps === wanted.keeps) return ledger;
  const data = known?.data ?? wanted.data;
  return { ...ledger, gitlab: { ...gitlab, protected: { ...wanted, data, since: wallMs, because } } };
}

/** A machine that was removed backs nothing up for the mesh any more. */
export function gitlabWithoutProtectedOn(gitlab: Ledger['gitlab'], node: NodeId): Ledger['gitlab'] {
  const { protected: known, ...rest } = gitlab;
  return known?.node === node ? rest : gitlab;
}
