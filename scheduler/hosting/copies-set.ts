import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { HostedCopies } from '../../protocol/ledger-gitlab.ts';
import { limits } from '../../protocol/limits.ts';
import type { RoundName } from '../../protocol/round-name.ts';
import { whichVoterIsOlder } from '../disconnecting.ts';

/*
 * What the ledger keeps of a hosted GitLab's copies, as values (SAFETY H10). Three circles, each within the one before: `agreed`
 * by a person, `standbys` chosen by the leader, the in-sync set's members entered by the host. Who leaves one leaves those
 * within it in the same edit.
 */

type InSync = HostedCopies['set'];
type Standbys = HostedCopies['standbys'];

export const firstCopies = (agreed: readonly NodeId[]): HostedCopies => ({
  agreed: [...new Set(agreed)],
  standbys: [],
  set: { version: 0, members: [], last: null, boot: null },
  bases: {},
});

/** Every change of the set raises its version, so that whatever was decided by an older one fails. */
export const setWith = (set: InSync, members: readonly NodeId[]): InSync => ({
  ...set,
  version: set.version + 1,
  members: [...members],
  last: members.length === 0 && set.members.length > 0 ? set.members : set.last,
});

/**
 * Whoever stands by no more is in sync no more. The version is raised also where it was no member: its entry may be on the way,
 * and would let it in again once it was chosen anew.
 */
export function withStandbys(copies: HostedCopies, standbys: Standbys): HostedCopies {
  const stays = (node: NodeId): boolean => standbys.some((one) => one.node === node);
  const members = copies.set.members.filter(stays);
  const isLess = members.length < copies.set.members.length || copies.standbys.some(({ node }) => !stays(node));
  return { ...copies, standbys, set: isLess ? setWith(copies.set, members) : copies.set };
}

export function withoutCopyOn(copies: HostedCopies, gone: NodeId): HostedCopies {
  const standbys = copies.standbys.filter(({ node }) => node !== gone);
  return { ...withStandbys(copies, standbys), agreed: copies.agreed.filter((node) => node !== gone) };
}

/** `gitlab` of a ledger with these copies; the same object where none is hosted. */
export const gitlabWithCopies = (gitlab: Ledger['gitlab'], copies: HostedCopies): Ledger['gitlab'] =>
  gitlab.hosted === undefined ? gitlab : { ...gitlab, hosted: { ...gitlab.hosted, copies } };

/** `gitlab` of a ledger in which that machine holds no copy; the same object where it held none. */
export function gitlabWithoutCopyOn({ gitlab }: Ledger, node: NodeId): Ledger['gitlab'] {
  const copies = gitlab.hosted?.copies;
  if (copies === undefined || !isNamedIn(copies, node)) return gitlab;
  return gitlabWithCopies(gitlab, withoutCopyOn(copies, node));
}

export const isNamedIn = ({ agreed, standbys, set }: HostedCopies, node: NodeId): boolean =>
  agreed.includes(node) || set.members.includes(node) || standbys.some((one) => one.node === node);

/** Why none of these can hold copies of what `host` runs; null when nothing in the ledger speaks against it. */
export function whyNoCopies(ledger: Ledger, host: NodeId, wanted: readonly NodeId[]): string | null {
  const { nodes } = ledger;
  const stranger = wanted.find((node) => !Object.hasOwn(nodes, node));
  if (stranger !== undefined) return `${stranger} is no machine of this mesh`;
  if (wanted.includes(host)) return `${nodes[host]?.name} runs GitLab itself: name another machine for copies of it`;
  // Any voter may have to write down who is in sync, and let the host go on by it.
  return whichVoterIsOlder(ledger, [host, ...wanted], 'copies', 'knows nothing of copies of a hosted GitLab');
}

/**
 * Who holds rounds of the data of before has none of what comes now, and would bring the others back: nobody is in sync, or was
 * last, until it has rounds of the new epoch or era (SAFETY H10).
 */
export const emptied = ({ set, ...copies }: HostedCopies): HostedCopies => ({
  ...copies,
  set: { ...set, version: set.version + 1, members: [], last: null, boot: null },
});

/** An epoch has one base, the first that was named: what was started from it stays true. */
export function withBase(bases: HostedCopies['bases'], epoch: number, base: RoundName | null): HostedCopies['bases'] {
  if (base === null || Object.hasOwn(bases, epoch)) return bases;
  const all = Object.entries({ ...bases, [String(epoch)]: base });
  return Object.fromEntries(all.sort(([a], [b]) => Number(a) - Number(b)).slice(-limits.bases));
}
