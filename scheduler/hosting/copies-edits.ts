import type { Change } from '../../protocol/changes.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { HostedCopies } from '../../protocol/ledger-gitlab.ts';
import { limits } from '../../protocol/limits.ts';
import type { Refusal } from '../ledger-edit.ts';
import { firstCopies, gitlabWithCopies, setWith, whyNoCopies, withBase, withoutCopyOn } from './copies-set.ts';
import { hostingOf, whyNotOf } from './hosted-edits.ts';
import { wayBackOf } from './move-edits.ts';

/*
 * What changes make of a hosted GitLab's copies (SAFETY H10). A person names who may hold them; the host alone says who is in
 * sync, each time from a version of the set that it names: if that has moved, what it decided by is no more, and it is refused.
 */

const withCopies = (ledger: Ledger, copies: HostedCopies): Ledger => ({
  ...ledger,
  gitlab: gitlabWithCopies(ledger.gitlab, copies),
});

export function agreeCopies(ledger: Ledger, change: Change & { kind: 'agree-copies' }): Ledger | Refusal {
  const { data, node, agreed } = change;
  const hosting = hostingOf(ledger);
  if (hosting === null) return { refused: 'this mesh hosts no GitLab' };
  if (hosting.data !== data)
    return { refused: 'the GitLab that was meant is gone, and the mesh hosts another by now: ask again for that one' };
  const copies = hosting.copies ?? firstCopies([]);
  if (copies.agreed.includes(node) === agreed) return ledger;
  // Those copies are deleted there, and nothing else is what it would go on with.
  if (!agreed && wayBackOf(ledger) === node)
    return {
      refused: `GitLab has just moved, and may go back to ${ledger.nodes[node]?.name ?? node}: wait until it stands: autogit-node gitlab`,
    };
  if (!agreed) return withCopies(ledger, withoutCopyOn(copies, node));
  if (hosting.ending) return { refused: 'GitLab is being uninstalled: no copies of it are made any more' };
  const refused = whyNoCopies(ledger, hosting.host, [node]);
  if (refused !== null) return { refused };
  if (copies.agreed.length >= limits.agreedCopies)
    return { refused: `${limits.agreedCopies} machines may hold copies already: take one of them out first` };
  return withCopies(ledger, { ...copies, agreed: [...copies.agreed, node] });
}

type HostsWord = Change & { kind: 'copies-begin' | 'copy-enters' | 'copies-leave' };

/** What the host says of its in-sync set; refused where it goes by another GitLab, epoch or version than the ledger. */
export function changeSet(ledger: Ledger, change: HostsWord): Ledger | Refusal {
  const refused = whyNotOf(ledger, change);
  if (refused !== null) return { refused };
  const copies = ledger.gitlab.hosted?.copies;
  if (copies === undefined) return { refused: 'no machine was named to hold copies of GitLab' };
  const { version } = copies.set;
  if (version !== change.from)
    return { refused: `the in-sync set is of version ${version} by now, and this was decided by ${change.from}` };
  switch (change.kind) {
    case 'copies-begin':
      return begin(ledger, copies, change);
    case 'copy-enters':
      return enter(ledger, copies, change.node);
    case 'copies-leave':
      return withCopies(ledger, { ...copies, set: setWithout(copies.set, change.nodes) });
  }
}

/** The set stays as it is: its members have every push that was acknowledged. What is still on its way of before fails. */
function begin(
  ledger: Ledger,
  copies: HostedCopies,
  { epoch, boot, base }: Change & { kind: 'copies-begin' },
): Ledger | Refusal {
  if (base !== null && (base.epoch > epoch || base.era > ledger.era.counter))
    return { refused: `a round of epoch ${base.epoch} in era ${base.era} is no base of epoch ${epoch}` };
  const set = { ...setWith(copies.set, copies.set.members), boot };
  return withCopies(ledger, { ...copies, set, bases: withBase(copies.bases, epoch, base) });
}

function enter(ledger: Ledger, copies: HostedCopies, node: NodeId): Ledger | Refusal {
  if (copies.set.boot === null) return { refused: "GitLab's host has not begun to take rounds of this epoch" };
  if (!copies.standbys.some((one) => one.node === node))
    return { refused: `${ledger.nodes[node]?.name ?? node} does not stand by: the leader chose others` };
  if (copies.set.members.includes(node)) return ledger;
  return withCopies(ledger, { ...copies, set: setWith(copies.set, [...copies.set.members, node]) });
}

/** Also of one that is no member yet: the host asked for its entry, and takes that back. */
const setWithout = (set: HostedCopies['set'], nodes: readonly NodeId[]): HostedCopies['set'] =>
  setWith(
    set,
    set.members.filter((node) => !nodes.includes(node)),
  );
