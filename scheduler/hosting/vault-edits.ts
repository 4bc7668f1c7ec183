import type { Change } from '../../protocol/changes.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { LedgerVault } from '../../protocol/vault.ts';
import { whichVoterIsOlder, whoIsOlder } from '../disconnecting.ts';
import type { Refusal } from '../ledger-edit.ts';
import { rankedVoters } from '../raft/quorum.ts';
import { emptied } from './copies-set.ts';
import { epochOfMarked, isEpochAfter } from './epochs.ts';
import { whyNotOf } from './hosted-edits.ts';
import { withoutMove } from './move-edits.ts';
import { withoutWish } from './upgrade-edits.ts';

/** Any voter may have to lead, and to open what is sealed for the voters. */
const whoCannot = (ledger: Ledger): string | null =>
  whichVoterIsOlder(ledger, [], 'vault', 'knows nothing of backups of GitLab');

/** A leader of then takes no notice of the image: the next epoch would begin with the one of now, on data of before. */
const whoKeepsImage = (ledger: Ledger): string | null =>
  whichVoterIsOlder(ledger, [], 'upgrade', "cannot bring back GitLab's version of then with its data");

/** Also whoever makes the backups goes by it: an earlier one would look for a folder of that name. */
export function whyNotKept({ configuration, nodes, gitlab }: Ledger, keeper: NodeId | undefined): string | null {
  if (keeper === undefined) return null;
  if (nodes[keeper] === undefined) return 'the machine that shall keep the backups is not in the mesh';
  const makers = [gitlab.host, gitlab.protected?.node].filter((one) => one != null);
  const asked = [...new Set([keeper, ...makers, ...rankedVoters(configuration)])];
  return whoIsOlder(nodes, asked, 'keep-vault', 'knows nothing of backups that a machine of the mesh keeps');
}

/** Where backups go, by the name that the machine which keeps them has now: people rename machines. */
export function vaultOf({ gitlab: { vault }, nodes }: Ledger): LedgerVault | null {
  if (vault === undefined) return null;
  const name = vault.keeper === undefined ? undefined : nodes[vault.keeper]?.name;
  return name === undefined ? vault : { ...vault, target: `node:${name}` };
}

export function setVault(ledger: Ledger, change: Change & { kind: 'set-vault' }, wallMs: number): Ledger | Refusal {
  const { vault: known, ...gitlab } = ledger.gitlab;
  if (change.vault === null) return known === undefined ? ledger : { ...ledger, gitlab };
  const refused = whoCannot(ledger) ?? whyNotKept(ledger, change.vault.keeper);
  if (refused !== null) return { refused };
  return { ...ledger, gitlab: { ...gitlab, vault: { ...change.vault, since: wallMs, because: change.because } } };
}

const beingUninstalled = 'it is being uninstalled';

/** A wish to move that came meanwhile is given up by it; where it moved to, its data may not be there yet, and it may go back. */
function whyNotNow(ledger: Ledger): string | null {
  const { hosted, host } = ledger.gitlab;
  // One that is to be uninstalled since is told of jobs and runners first, which it cannot be in an epoch whose gate is shut for good.
  if (hosted?.ending?.drained) return beingUninstalled;
  if (hosted?.move && hosted.move.to === host) return 'it has just moved here, and may go back';
  return whoCannot(ledger);
}

/** Asked before the gate is closed: afterwards there is no way back to this epoch. `image`: another one comes with the data. */
export function whyNoRestore(ledger: Ledger, image?: string): string | null {
  if (ledger.gitlab.hosted?.ending) return beingUninstalled;
  if (ledger.gitlab.hosted?.move) return 'it is moving to another machine: wait until that is over';
  return whyNotNow(ledger) ?? (image === undefined ? null : whoKeepsImage(ledger));
}

/**
 * Other data lie in their place, and the next epoch begins with them; its host has closed the gate of this one (SAFETY H7). What
 * GitLab knew meanwhile it does not know now: address and token are told anew when it stands, runners are made anew.
 */
export function restored(
  ledger: Ledger,
  { data, epoch, image, because, ...marks }: Change & { kind: 'gitlab-restored' },
  wallMs: number,
): Ledger | Refusal {
  const { gitlab: before } = ledger;
  const givenUp = `it was given up: ${because}`.slice(0, 900);
  const gitlab = withoutMove(withoutWish(before, false, givenUp, wallMs), false, givenUp, wallMs);
  // Said twice: what it says is so.
  if (gitlab.hosted?.data === data && isEpochAfter(gitlab.epoch, epoch, ledger)) return ledger;
  const refused = whyNotOf(ledger, { data, epoch }) ?? whyNotNow(ledger);
  if (refused !== null) return { refused };
  const hosted = gitlab.hosted!;
  const copies = hosted.copies && { copies: emptied(hosted.copies) };
  return {
    ...ledger,
    classes: {},
    gitlab: {
      ...gitlab,
      ...{ url: null, token: null, instance: null },
      epoch: epochOfMarked(ledger, marks),
      hosted: { ...hosted, ...copies, ...(image !== undefined && { image }) },
    },
  };
}
