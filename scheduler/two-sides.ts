import { fencedEpoch } from '../protocol/fenced.ts';
import type { NodeId } from '../protocol/ids.ts';
import type { Ledger } from '../protocol/ledger.ts';
import type { Attention } from '../protocol/status.ts';
import { epochsUnheard, hostingOf } from './hosting/hosted-edits.ts';
import { rfc3339 } from './jobs/civil-time.ts';
import { type FencedThere, fencedThere } from './snapshot-fenced.ts';
import { nodeName, type ViewInput } from './snapshot-view.ts';

/*
 * After a recovery by force GitLab may have served on two sides: here as a person said so, and in the former era, whose machines were
 * vouched for as switched off and were not (SAFETY L15). Once they meet, the former host serves nothing any more, and keeps what it took;
 * what goes on takes no push either before a person has looked at what differs, or both go further apart unseen.
 */

/** First epoch of the hosted GitLab in the era that is now, begun from a round of the former one; null where it went on at its host. */
function firstOfEra({ era, gitlab }: Ledger): number | null {
  const begun = Object.entries(gitlab.hosted?.copies?.bases ?? {})
    .filter(([epoch, base]) => base.era < era.counter && Number(epoch) - base.epoch >= epochsUnheard)
    .map(([epoch]) => Number(epoch));
  return begun.length === 0 ? null : Math.max(...begun);
}

/**
 * What was served in the former era and written to after the recovery by force, by the clocks of both machines, and nobody has looked
 * at. A host that had died by then, or had lost its lease, wrote nothing later.
 */
export function servedBeside(view: Pick<ViewInput, 'jobs'>, ledger: Ledger): FencedThere[] {
  const { recovery } = ledger;
  const first = firstOfEra(ledger);
  if (recovery === undefined || first === null) return [];
  return fencedThere(view, ledger).filter(({ seen: { name, at, looked } }) => {
    const epoch = fencedEpoch(name);
    return !looked && at > recovery.at && epoch < first && epoch >= first - epochsUnheard;
  });
}

const words = (ledger: Ledger, { node, seen }: FencedThere): string => {
  const name = nodeName(ledger, node);
  return `GitLab served on ${name} too until ${rfc3339(seen.at)}, after this mesh was recovered by force: no push is taken before somebody has looked at what is in ${seen.name} alone`;
};
const diffOf = (name: string): string => `autogit-node gitlab diff ${name}`;

/** Why the GitLab that this machine hosts takes no push, for the pusher's terminal; null while it does. */
export function whyNoPush(view: Pick<ViewInput, 'jobs'>, ledger: Ledger | null, self: NodeId): string | null {
  if (ledger === null || hostingOf(ledger)?.host !== self) return null;
  const [first] = servedBeside(view, ledger);
  return first === undefined ? null : `${words(ledger, first)}: ${diffOf(first.seen.name)}`;
}

export const twoSidesLines = (view: Pick<ViewInput, 'jobs'>, ledger: Ledger): Attention[] =>
  servedBeside(view, ledger).map((one) => ({
    ...{ code: 'gitlab-two-sides', severity: 'fail', sentence: words(ledger, one), fix: diffOf(one.seen.name) },
  }));
