import type { Change } from '../../protocol/changes.ts';
import type { UpgradeWish } from '../../protocol/hosted-upgrade.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { HostedGitlab } from '../../protocol/ledger-gitlab.ts';
import { whichVoterIsOlder } from '../disconnecting.ts';
import type { Refusal } from '../ledger-edit.ts';
import { emptied } from './copies-set.ts';
import { epochOfMarked, isEpochAfter } from './epochs.ts';
import { whyNotOf } from './hosted-edits.ts';

/*
 * An upgrade of the mesh's GitLab in the ledger: wished (what serves serves on, and its host gets ready) -> for each image on the
 * way one epoch more, said by the host once its gate is closed for that of before (SAFETY H7) -> ended, with how. The wish
 * stands until then, so that whichever agent of the host comes next goes on with it.
 */

/** Any voter may have to lead; the host does it. */
const whoCannot = (ledger: Ledger, host: NodeId): string | null =>
  whichVoterIsOlder(ledger, [host], 'upgrade', 'knows nothing of an upgrade of GitLab');

/** Why none can be begun in that ledger; null when nothing in it speaks against one. */
export function whyNoUpgrade(ledger: Ledger): string | null {
  const { hosted, host } = ledger.gitlab;
  if (hosted === undefined || host === null) return 'this mesh hosts no GitLab';
  if (hosted.ending) return 'it is being uninstalled';
  if (hosted.move) return 'it is moving to another machine: wait until that is over';
  return whoCannot(ledger, host);
}

function upgrade(
  ledger: Ledger,
  { data, epoch, image, from, rehearse, because }: Change & { kind: 'upgrade-gitlab' },
  wallMs: number,
): Ledger | Refusal {
  const { gitlab } = ledger;
  const known = gitlab.hosted?.data === data ? gitlab.hosted.upgrade : undefined;
  // Asked twice it is one, also where a stop on its way was passed meanwhile.
  if (known?.image === image) return ledger;
  const refused = whyNotOf(ledger, { data, epoch }) ?? whyNoUpgrade(ledger);
  if (refused !== null) return { refused };
  if (known) return { refused: `GitLab is being upgraded to ${known.image}: wait until that is over` };
  const { upgraded: _before, ...hosted } = gitlab.hosted!;
  if (hosted.image === image) return { refused: `${image} runs already` };
  const wish: UpgradeWish = { image, from, rehearse, since: wallMs, because };
  return { ...ledger, gitlab: { ...gitlab, hosted: { ...hosted, upgrade: wish } } };
}

/**
 * The next epoch of the same data begins with that image; also with the one of before, where it did not come up. What GitLab knows
 * it knows on: its gate was shut from the moment of which these data are, so address, token and runners stay.
 */
function upgraded(
  ledger: Ledger,
  { data, epoch, image, ...marks }: Change & { kind: 'gitlab-upgraded' },
): Ledger | Refusal {
  const { gitlab } = ledger;
  // Said twice: what it says is so.
  const isSame = gitlab.hosted?.data === data && isEpochAfter(gitlab.epoch, epoch, ledger);
  if (isSame && gitlab.hosted?.image === image) return ledger;
  const refused = whyNotOf(ledger, { data, epoch });
  if (refused !== null) return { refused };
  const hosted = gitlab.hosted!;
  const copies = hosted.copies && { copies: emptied(hosted.copies) };
  const next = epochOfMarked(ledger, marks);
  return { ...ledger, gitlab: { ...gitlab, epoch: next, hosted: { ...hosted, ...copies, image } } };
}

/** How it ended stays for whoever asks, until the next one. */
function upgradeEnded(
  ledger: Ledger,
  { data, epoch, isDone, because }: Change & { kind: 'gitlab-upgrade-ended' },
  wallMs: number,
): Ledger | Refusal {
  const refused = whyNotOf(ledger, { data, epoch });
  if (refused !== null) return { refused };
  if (ledger.gitlab.hosted?.upgrade === undefined) return ledger;
  return { ...ledger, gitlab: withoutWish(ledger.gitlab, isDone, because, wallMs) };
}

/** The same object where nothing was wished. */
export function withoutWish(gitlab: Ledger['gitlab'], isDone: boolean, because: string, at: number): Ledger['gitlab'] {
  if (gitlab.hosted?.upgrade === undefined) return gitlab;
  const {
    upgrade: { image, from },
    ...hosted
  } = gitlab.hosted as HostedGitlab & { upgrade: UpgradeWish };
  return { ...gitlab, hosted: { ...hosted, upgraded: { image, from, isDone, because, at } } };
}

export function changeUpgrade(
  ledger: Ledger,
  change: Change & { kind: 'upgrade-gitlab' | 'gitlab-upgraded' | 'gitlab-upgrade-ended' },
  wallMs: number,
): Ledger | Refusal {
  switch (change.kind) {
    case 'upgrade-gitlab':
      return upgrade(ledger, change, wallMs);
    case 'gitlab-upgraded':
      return upgraded(ledger, change);
    case 'gitlab-upgrade-ended':
      return upgradeEnded(ledger, change, wallMs);
  }
}
