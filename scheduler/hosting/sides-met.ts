import { type FencedSeen, fencedEpoch, fencedMost, type OpenSide } from '../../protocol/fenced.ts';
import type { NodeId } from '../../protocol/ids.ts';
import { asSentence } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { JobsTurn } from '../jobs/jobs-turn.ts';
import type { LedgerEdit } from '../ledger-edit.ts';
import { note } from '../note.ts';
import { type FencedThere, fencedThere, unkeptThere } from '../snapshot-fenced.ts';
import { hostingOf } from './hosted-edits.ts';
import type { HostingTurn } from './hosting-turn.ts';
import { forksOf, isBeside, withSides } from './sides.ts';

/*
 * Two sides of a recovery by force that meet (sides.ts), by what machines say of what they keep: written into the ledger by the leader,
 * and taken out again once a person has looked.
 */

const isOpen = ({ looked, took }: FencedSeen): boolean => !looked && took !== 'none' && took !== 'looking';

type Reports = Parameters<typeof fencedThere>[0];

/** What machines say that they served beside, and nobody has looked at. */
function metBeside(view: Reports, ledger: Ledger): FencedThere[] {
  const forks = forksOf(ledger);
  if (forks.length === 0) return [];
  return fencedThere(view, ledger).filter(({ seen }) => isBeside(forks, fencedEpoch(seen.name)) && isOpen(seen));
}

const isSame = (a: { node: NodeId; name: string }, b: { node: NodeId; name: string }): boolean =>
  a.node === b.node && a.name === b.name;

/** A person has had it compared or deleted it, by its machine's word, or has removed that machine. */
function isOver(view: Reports, ledger: Ledger, one: OpenSide): boolean {
  if (!Object.hasOwn(ledger.nodes, one.node)) return true;
  if (unkeptThere(view, ledger, one.node).includes(one.name)) return true;
  return fencedThere(view, ledger).some(
    ({ node, seen }) => isSame(one, { node, name: seen.name }) && seen.looked === true,
  );
}

/** What nobody has looked at: by the ledger, and by what machines say that the leader has not written down yet. */
export function openSides(view: Reports, ledger: Ledger): OpenSide[] {
  const known = (ledger.gitlab.hosted?.sides?.open ?? []).filter((one) => !isOver(view, ledger, one));
  const met = metBeside(view, ledger).map((one) => sideOf(ledger, one, 0));
  return [...known, ...met.filter((one) => !known.some((other) => isSame(one, other)))];
}

function sideOf(ledger: Ledger, { node, seen: { name, took } }: FencedThere, since: number): OpenSide {
  const there = ledger.nodes[node]?.name ?? node;
  const because =
    took === 'more'
      ? `GitLab served on ${there} too, beside this mesh, which was recovered by force`
      : `GitLab may have served on ${there} too, beside this mesh, which was recovered by force`;
  return { node, name, since, because: asSentence(because) };
}

/** The leader's part: what has met is written down, and what a person has looked at is taken out. */
export function tendSides(turn: JobsTurn): void {
  const { ledger } = turn.context;
  const hosting = hostingOf(ledger);
  if (ledger === null || hosting === null) return;
  const known = hosting.sides?.open ?? [];
  const met = metBeside(turn, ledger).filter(
    ({ node, seen }) => !known.some((one) => isSame(one, { node, name: seen.name })),
  );
  const over = known.filter((one) => isOver(turn, ledger, one));
  const more = met.slice(0, Math.max(0, fencedMost - known.length + over.length));
  if (more.length + over.length === 0) return;
  const begun = more.map((one) => sideOf(ledger, one, turn.wallMs));
  turn.edits.push(sidesChanged(hosting.data, begun, over));
}

/** Said once on every machine, whichever leads. */
export function noteSides(turn: HostingTurn): void {
  const { committed } = turn.context;
  if (turn.hosting.seen.committed === committed) return;
  const [before, now] = [hostingOf(turn.hosting.seen.committed), hostingOf(committed)];
  if (committed === null || now === null) return;
  const [were, are] = [before?.data === now.data ? (before.sides?.open ?? []) : [], now.sides?.open ?? []];
  for (const { node, name, because } of are.filter((one) => !were.some((other) => isSame(one, other))))
    note(turn, {
      event: 'gitlab-two-sides',
      level: 'warn',
      because: `${because}: no push is taken before somebody has looked: autogit-node gitlab diff ${name}`,
      fields: { node, name },
    });
  for (const one of were.filter((before) => !are.some((other) => isSame(before, other))))
    note(turn, {
      event: 'gitlab-side-seen',
      because: seenWords(committed, one),
      fields: { node: one.node, name: one.name },
    });
}

const seenWords = ({ nodes }: Ledger, { node, name }: OpenSide): string =>
  Object.hasOwn(nodes, node)
    ? `a person has looked at ${name} of ${nodes[node]?.name}, or deleted it: it keeps no push from GitLab any more`
    : `the machine with ${name} was removed: that keeps no push from GitLab any more`;

const sidesChanged = (data: string, begun: readonly OpenSide[], over: readonly OpenSide[]): LedgerEdit => ({
  name: 'gitlab-sides',
  because: begun[0]?.because ?? 'a person has looked at what was served beside',
  apply(ledger) {
    const { hosted } = ledger.gitlab;
    if (hosted?.data !== data) return ledger;
    const { open, forks } = hosted.sides ?? { open: [], forks: [] };
    const left = open.filter((one) => !over.some((other) => isSame(one, other)));
    const added = begun.filter((one) => !open.some((other) => isSame(one, other)));
    if (left.length === open.length && added.length === 0) return ledger;
    const after = withSides(ledger.gitlab, { open: [...left, ...added].slice(0, fencedMost), forks });
    return { ...ledger, gitlab: after };
  },
});
