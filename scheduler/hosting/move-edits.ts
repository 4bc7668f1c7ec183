import type { Change } from '../../protocol/changes.ts';
import type { HostedAt, HostedMove } from '../../protocol/hosted-move.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { HostedCopies, HostedGitlab } from '../../protocol/ledger-gitlab.ts';
import { limits } from '../../protocol/limits.ts';
import type { RoundName } from '../../protocol/round-name.ts';
import { whichVoterIsOlder } from '../disconnecting.ts';
import type { LedgerEdit, Refusal } from '../ledger-edit.ts';
import { rankedVoters } from '../raft/quorum.ts';
import { unseenIn } from '../recovered.ts';
import { emptied, setWith, withBase } from './copies-set.ts';
import { epochAfter, epochOfMarked } from './epochs.ts';
import { hostedUrl, hostingOf, whyNotOf } from './hosted-edits.ts';

/*
 * A planned move of the mesh's GitLab in the ledger: wished (what serves serves on, and both machines get ready) -> moved: said by
 * the host once its gate is closed for its epoch and the last round is at the other machine, which hosts in the next epoch
 * (SAFETY H7, H10) -> stands: said by the new host, before its gate lets anybody in. Until then, and never after, it may go back:
 * said by the host, or by the leader where that is away. So the document that says "stands" is what decides between the two.
 */

type Gitlab = Ledger['gitlab'];

/** Why GitLab cannot move to `to` as things are in the ledger; null when nothing in it speaks against that. */
export function whyNoMove(ledger: Ledger, to: NodeId): string | null {
  const { nodes, gitlab, configuration } = ledger;
  const hosting = hostingOf(ledger);
  const name = (node: NodeId): string => nodes[node]?.name ?? node;
  if (hosting === null) return 'this mesh hosts no GitLab';
  const { host, ending, upgrade, move, copies } = hosting;
  if (ending) return 'it is being uninstalled';
  if (move) return `it is moving to ${name(move.to)} already: how far that is: autogit-node gitlab`;
  if (upgrade) return `it is being upgraded to ${upgrade.image}: wait until that is over`;
  if (gitlab.url === null) return `it does not stand yet on ${name(host)}: wait until it does`;
  if (to === host) return `it runs on ${name(to)} already`;
  const node = nodes[to];
  if (node === undefined) return `${to} is no machine of this mesh`;
  if (node.left) return `${node.name} is away: start its agent first`;
  if (node.drained) return `${node.name} is drained: autogit-node undrain ${node.name} first`;
  if (!copies?.standbys.some((one) => one.node === to))
    return `${node.name} holds no copy of it: autogit-node gitlab copies add ${node.name}`;
  // A host that does not vote cannot open GitLab's token, and a move would take it from whoever can.
  if (!rankedVoters(configuration).includes(to))
    return `${node.name} does not vote, and only a machine that does can run GitLab with all that it needs: autogit-node status -o wide`;
  // One of the former era may host it still, under this very epoch.
  const unseen = unseenIn(ledger);
  if (unseen.length > 0)
    return `${unseen.map(name).join(' and ')} did not come over since this mesh was recovered: start it, or autogit-node forget it first`;
  return whoCannot(ledger, host);
}

/** Any voter may have to lead, and to take it back. */
const whoCannot = (ledger: Ledger, host: NodeId): string | null =>
  whichVoterIsOlder(ledger, [host], 'move', 'knows nothing of a GitLab that moves');

type MoveChange = Change & { kind: 'move-gitlab' | 'gitlab-moved' | 'gitlab-move-stands' | 'gitlab-move-ends' };

/** What a person, the host, or the machine to which it moves says of a move. */
export function changeMove(ledger: Ledger, change: MoveChange, wallMs: number): Ledger | Refusal {
  if (change.kind === 'move-gitlab') return move(ledger, change, wallMs);
  const refused = whyNotOf(ledger, change);
  if (refused !== null) return { refused };
  switch (change.kind) {
    case 'gitlab-moved':
      return moved(ledger, change);
    case 'gitlab-move-stands':
      return moveStands(ledger, wallMs);
    case 'gitlab-move-ends':
      return moveEnds(ledger, change, wallMs);
  }
}

function move(
  ledger: Ledger,
  { data, epoch, to, there, because }: Change & { kind: 'move-gitlab' },
  wallMs: number,
): Ledger | Refusal {
  const { gitlab } = ledger;
  // Asked twice it is one.
  if (gitlab.hosted?.data === data && gitlab.hosted.move?.to === to) return ledger;
  const refused = whyNotOf(ledger, { data, epoch }) ?? whyNoMove(ledger, to);
  if (refused !== null) return { refused };
  const { moved: _before, ...hosted } = gitlab.hosted!;
  const wish = { from: gitlab.host!, to, there, back: hereOf(hosted), since: wallMs, because };
  return { ...ledger, gitlab: { ...gitlab, hosted: { ...hosted, move: wish } } };
}

/** Where its data lie and how it is reached, for the way back. */
export const hereOf = ({ place, hostname, ipv6 }: HostedGitlab): HostedAt => ({
  ...{ place, hostname },
  ...(ipv6 !== undefined && { ipv6 }),
});

function moved(ledger: Ledger, { epoch, base }: Change & { kind: 'gitlab-moved' }): Ledger | Refusal {
  const { gitlab } = ledger;
  const wish = gitlab.hosted!.move;
  if (wish === undefined || wish.from !== gitlab.host)
    return { refused: 'nobody asked for a move, or it was given up' };
  if (gitlab.hosted!.ending) return { refused: 'GitLab is being uninstalled' };
  const { name, ...node } = ledger.nodes[wish.to] ?? { name: wish.to, left: true };
  if (node.left) return { refused: `${name} is not in the mesh any more, or has left` };
  const copies = gitlab.hosted!.copies;
  if (!copies?.standbys.some((one) => one.node === wish.to)) return { refused: `${name} holds no copies any more` };
  if (base.epoch !== epoch || base.era !== ledger.era.counter)
    return { refused: `a round of epoch ${base.epoch} in era ${base.era} is not the last one of epoch ${epoch}` };
  return { ...ledger, gitlab: movedTo(ledger, wish, true, { ...wish, base }) };
}

/** The epoch's data are those with which the one before ended: what GitLab knows it knows on, and only its address is another. */
export function movedTo(ledger: Ledger, wish: HostedMove, isThere: boolean, left: HostedMove | undefined): Gitlab {
  const { gitlab } = ledger;
  const hosted = gitlab.hosted!;
  const epoch = epochAfter(ledger);
  const [host, former, at] = isThere ? [wish.to, wish.from, wish.there] : [wish.from, wish.to, wish.back];
  const base = left?.base ?? wish.base;
  const copies = hosted.copies && base && exchanged(hosted.copies, { host, former, base, epoch });
  const { ipv6: _former, ...rest } = hosted;
  const { place, hostname, ipv6 } = at;
  const next: HostedGitlab = {
    ...rest,
    place,
    hostname,
    ...(ipv6 !== undefined && { ipv6 }),
    ...(copies && { copies }),
  };
  const { move: _wish, ...without } = next;
  // A name of the owner's stands before it, and leads to wherever it is.
  const url = gitlab.url === hostedUrl(hosted) ? hostedUrl(next) : gitlab.url;
  return { ...gitlab, url, host, epoch, hosted: left ? { ...next, move: left } : without };
}

/**
 * The two change places: who ran it holds copies now, and begins with what both have. Whoever else was in sync has every push that
 * was acknowledged, and stays.
 */
function exchanged(
  copies: HostedCopies,
  { host, former, base, epoch }: { host: NodeId; former: NodeId; base: RoundName; epoch: number },
): HostedCopies {
  const others = copies.standbys.filter(({ node }) => node !== host && node !== former);
  const because = 'it ran GitLab until that moved, and has all of it';
  const standbys = [{ node: former, because }, ...others].slice(0, limits.standbys);
  return {
    // Where all places are taken, one that holds nothing makes room: who stands by has all of it.
    agreed: [...new Set([former, ...standbys.map(({ node }) => node), ...copies.agreed])]
      .filter((node) => node !== host)
      .slice(0, limits.agreedCopies),
    standbys,
    set: {
      ...setWith(
        copies.set,
        // Who stands by no more, as another one came in the former's place meanwhile, is in sync no more.
        copies.set.members.filter((node) => node !== former && standbys.some((one) => one.node === node)),
      ),
      // Of this epoch nobody was in sync yet, and has left.
      ...{ last: null, boot: null },
    },
    bases: withBase(copies.bases, epoch, base),
  };
}

function moveStands(ledger: Ledger, wallMs: number): Ledger | Refusal {
  const { gitlab } = ledger;
  const wish = gitlab.hosted!.move;
  // Said twice: what it says is so.
  if (wish === undefined) return gitlab.hosted!.moved?.isDone ? ledger : { refused: 'nobody asked for a move' };
  if (wish.to !== gitlab.host) return { refused: 'it has not moved yet' };
  return { ...ledger, gitlab: withoutMove(gitlab, true, wish.because, wallMs) };
}

function moveEnds(
  ledger: Ledger,
  { isClosed, because, ...marks }: Change & { kind: 'gitlab-move-ends' },
  wallMs: number,
): Ledger | Refusal {
  const { gitlab } = ledger;
  const wish = gitlab.hosted!.move;
  if (wish === undefined)
    return { refused: 'nobody asked for a move, or it stands: GitLab does not go back by itself' };
  if (wayBackOf(ledger) !== null) return { ...ledger, gitlab: wentBack(ledger, because, wallMs) };
  // There is nothing to go back to: the leader goes on to the next machine.
  if (wish.to === gitlab.host) return { ...ledger, gitlab: failed(gitlab, wish, because) };
  const given = withoutMove(gitlab, false, because, wallMs);
  if (!isClosed) return { ...ledger, gitlab: given };
  const hosted = given.hosted!;
  // Of its rounds none is surely the last one: who is in sync is found anew, as after a restore.
  const copies = hosted.copies && { copies: emptied(hosted.copies) };
  return {
    ...ledger,
    gitlab: { ...given, epoch: epochOfMarked(ledger, { marksAnew: true, ...marks }), hosted: { ...hosted, ...copies } },
  };
}

/** Said twice it is so. */
function failed(gitlab: Gitlab, wish: HostedMove, because: string): Gitlab {
  if (wish.unplanned?.failed !== undefined) return gitlab;
  const unplanned = { tried: [], ...wish.unplanned, failed: because };
  return { ...gitlab, hosted: { ...gitlab.hosted!, move: { ...wish, unplanned } } };
}

/**
 * It has moved, does not stand yet, and may go back to that machine, which has to stay what it is until then. Null where it may not:
 * its host was silent, or was removed meanwhile.
 */
export function wayBackOf({ nodes, gitlab: { host, hosted } }: Ledger): NodeId | null {
  const { move } = hosted ?? {};
  if (move === undefined || move.unplanned || move.to !== host) return null;
  return Object.hasOwn(nodes, move.from) ? move.from : null;
}

function wentBack(ledger: Ledger, because: string, wallMs: number): Gitlab {
  const wish = ledger.gitlab.hosted!.move!;
  return withEnd(movedTo(ledger, wish, false, undefined), wish, { isDone: false, because, at: wallMs });
}

/** The same object where none was wished. */
export function withoutMove(gitlab: Gitlab, isDone: boolean, because: string, at: number): Gitlab {
  if (gitlab.hosted?.move === undefined) return gitlab;
  const { move: wish, ...hosted } = gitlab.hosted;
  return withEnd({ ...gitlab, hosted }, wish, { isDone, because, at });
}

function withEnd(
  gitlab: Gitlab,
  { from, to, unplanned }: HostedMove,
  end: { isDone: boolean; because: string; at: number },
): Gitlab {
  const moved = { from, to, ...end, ...(unplanned && { isUnplanned: true }) };
  return { ...gitlab, hosted: { ...gitlab.hosted!, moved } };
}

/** The leader's own word, where the new host is away and its last lease is surely out; it has let nobody in, as it does not stand. */
export const moveTakenBack = (data: string, epoch: number, because: string, wallMs: number): LedgerEdit => ({
  name: 'gitlab-move-ends',
  because,
  apply(ledger) {
    const { gitlab } = ledger;
    const isMeant = gitlab.hosted?.data === data && gitlab.epoch === epoch && wayBackOf(ledger) !== null;
    return isMeant ? { ...ledger, gitlab: wentBack(ledger, because, wallMs) } : ledger;
  },
});
