import { type FencedName, type Fork, fencedMost, leftSidesMost, type Sides } from '../../protocol/fenced.ts';
import type { DataId, NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import type { RoundName } from '../../protocol/round-name.ts';
import { unseenIn } from '../recovered.ts';
import { epochsUnheard, isOfSide, lowestOfSides } from './epochs.ts';

/*
 * After a recovery by force GitLab may have served on two sides: here as a person said so, and in the former era, whose machines were
 * vouched for as switched off and were not (SAFETY L15, H10). Life of one: such a machine comes over, serves nothing any more, and says
 * what it keeps -> the leader writes into the ledger that both sides have met (sides-met.ts), and no push is taken (two-sides.ts), whatever restarts, is
 * switched off or says nothing from then on -> a person has had it compared, or deleted it, by its machine's word, or removes that
 * machine. No two clocks are compared: which epochs were served beside stands in the ledger, and how far, on that machine's own disk.
 */

/** Epochs that may have been served in a former era, of each recovery by force after which GitLab went on with another one. */
export function forksOf(ledger: Ledger): Fork[] {
  const { gitlab, recovery } = ledger;
  const known = gitlab.hosted?.sides?.forks ?? [];
  if (recovery === undefined) return known;
  // Where this version recovered, and says of no GitLab, there never was one.
  if (recovery.epoch === undefined && recovery.side !== undefined) return known;
  const forks = forksOfRecovery(ledger, recovery, known);
  // An earlier version recovered here: its epochs have no side, and whatever is above them as only sides are was begun on another machine.
  return recovery.side === undefined
    ? withFork(forks, { from: Math.max(lowestOfSides, gitlab.epoch + 1), below: limits.counter })
    : forks;
}

function forksOfRecovery(
  { gitlab: { hosted, epoch: now }, era }: Ledger,
  recovery: NonNullable<Ledger['recovery']>,
  known: Fork[],
): Fork[] {
  const bases = Object.entries(hosted?.copies?.bases ?? {})
    .map(([epoch, base]) => ({ begun: Number(epoch), base }))
    .sort((a, b) => a.begun - b.begun);
  if (recovery.epoch === undefined) {
    // An older version recovered, and did not say: the last that began so far above a round of a former era.
    const begun = bases.findLast(
      (one) => one.base.era < era.counter && one.begun - one.base.epoch >= epochsUnheard,
    )?.begun;
    return begun === undefined ? known : withFork(known, { from: Math.max(1, begun - epochsUnheard), below: begun });
  }
  const { epoch, side } = recovery;
  const next = bases.find(({ begun }) => begun > epoch);
  if (side !== undefined) {
    const isBegunWithIt = next === undefined || next.base.era >= era.counter;
    return withFork(known, { from: isBegunWithIt ? epoch + 1 : epoch, below: limits.counter, side });
  }
  // It goes on here as it was: whatever the former era began comes before this one's next.
  if (next === undefined) return withFork(known, { from: Math.max(epoch, now) + 1, below: epoch + epochsUnheard });
  // It went on in the same epoch here, and that one's data are this mesh's own.
  const from = next.base.era < era.counter ? epoch : epoch + 1;
  // Where bases of between are forgotten, as with a GitLab that was uninstalled: this mesh's own epochs begin there.
  return withFork(known, { from, below: Math.min(next.begun, epoch + epochsUnheard) });
}

/** Not where it has none, nor again what a GitLab that was uninstalled left. */
const withFork = (known: Fork[], { from, below, side }: Fork): Fork[] =>
  from >= below || known.some((one) => one.from <= from && one.below >= below && one.side === side)
    ? known
    : [...known, { from, below, ...(side !== undefined && { side }) }];

/** That epoch may have been served in a former era, or in another recovery of it, beside. */
export const isBeside = (forks: readonly Fork[], epoch: number): boolean =>
  forks.some(
    ({ from, below, side }) =>
      epoch >= from && epoch < below && !(side !== undefined && isOfSide(epoch, side, from - 1)),
  );

/** The same by a machine's own ledger, where it has one. */
export const wasBeside = (ledger: Ledger | null, epoch: number): boolean =>
  ledger !== null && isBeside(forksOf(ledger), epoch);

/** So it was, and GitLab has a host in this era: where that was switched off and is not back, these may be the newest data that there are. */
export const goesOnWithout = (ledger: Ledger | null, epoch: number): boolean =>
  wasBeside(ledger, epoch) && !unseenIn(ledger!).includes(ledger!.gitlab.host ?? '');

/** What the ledger calls not looked at, of what that machine keeps. */
export const metOn = (ledger: Ledger | null, node: NodeId): FencedName[] =>
  (ledger?.gitlab.hosted?.sides?.open ?? []).flatMap((one) => (one.node === node ? [one.name] : []));

/** What a machine knows of what it keeps, and of the round with which the mesh went on, by its own disk and clock. */
export interface FencedDisk {
  base: RoundName | null;
  /** When this machine took it; null where it is not here. */
  baseAt: number | null;
  /** Its newest round of the epoch that was served; null where none is here. */
  newest: RoundName | null;
  /** When GitLab last wrote to it; 0 where nothing tells. */
  writtenAt: number;
}

/** What a host that dies may have taken since the last round that a machine in sync has: ms of its own clock, and rounds. */
export const beyondBase = { ms: 15_000, rounds: 6 } as const;

/** Whether it was served beyond that round, but for its refs, which are compared where this says `none`; null: it cannot be known. */
export function tookBeyond(epoch: number, { base, baseAt, newest, writtenAt }: FencedDisk): 'none' | 'more' | null {
  if (base === null || base.epoch > epoch) return null;
  // It had gone on to another epoch there.
  if (base.epoch < epoch) return 'more';
  if (newest?.epoch === epoch && newest.number - base.number > beyondBase.rounds) return 'more';
  if (baseAt === null || writtenAt === 0) return null;
  return writtenAt - baseAt > beyondBase.ms ? 'more' : 'none';
}

/** `gitlab` with these; without any where there are none. */
export function withSides(gitlab: Ledger['gitlab'], sides: Sides): Ledger['gitlab'] {
  const { sides: _before, ...hosted } = gitlab.hosted!;
  const isNone = sides.open.length + sides.forks.length === 0;
  return { ...gitlab, hosted: isNone ? hosted : { ...hosted, sides } };
}

/** What comes after the epoch of now is of the recovery that is in force, or of the next one. */
const untilNow = (forks: readonly Fork[], { epoch }: Ledger['gitlab']): Fork[] =>
  forks.map((fork) => ({ ...fork, below: Math.min(fork.below, epoch + 1) })).filter(({ from, below }) => from < below);

/** A ledger that is about to be recovered by force: what the era that ends leaves open stays so, and its forks are known by no base any more. */
export function keepingSides(ledger: Ledger): Ledger['gitlab'] {
  const { hosted } = ledger.gitlab;
  const forks = untilNow(forksOf(ledger), ledger.gitlab).slice(-fencedMost);
  if (hosted === undefined || forks.length === 0) return ledger.gitlab;
  return withSides(ledger.gitlab, { open: hosted.sides?.open ?? [], forks });
}

/**
 * `gitlab` of a ledger whose GitLab is uninstalled: where its data stay, so does what two sides may have written to them, until they are
 * deployed again (`sidesOfLeft`). Data that are deleted hold up nothing any more.
 */
export function leavingSides(ledger: Ledger): Pick<Ledger['gitlab'], 'leftSides'> {
  const { hosted, leftSides = [] } = ledger.gitlab;
  if (hosted === undefined) return leftSides.length === 0 ? {} : { leftSides };
  const { data, ending, sides } = hosted;
  const open = sides?.open ?? [];
  const forks = untilNow(forksOf(ledger), ledger.gitlab);
  const isLeft = ending?.deleteData !== true && open.length + forks.length > 0;
  const others = leftSides.filter((one) => one.data !== data);
  const all = [...others, ...(isLeft ? [{ data, open, forks }] : [])].slice(-leftSidesMost);
  return all.length === 0 ? {} : { leftSides: all };
}

/** Of data that are deployed: what stands in the ledger of a time before they were uninstalled. */
export function sidesOfLeft({ leftSides = [] }: Ledger['gitlab'], data: DataId): { sides?: Sides } {
  const left = leftSides.find((one) => one.data === data);
  return left === undefined ? {} : { sides: { open: left.open, forks: left.forks } };
}

/** Without what that machine keeps: a person removes it. The same object where it keeps nothing that was met. */
export function gitlabWithoutSidesOf(before: Ledger['gitlab'], node: NodeId): Ledger['gitlab'] {
  const gitlab = withoutLeftOf(before, node);
  const { open, forks } = gitlab.hosted?.sides ?? { open: [], forks: [] };
  const left = open.filter((one) => one.node !== node);
  return left.length === open.length ? gitlab : withSides(gitlab, { open: left, forks });
}

function withoutLeftOf(gitlab: Ledger['gitlab'], node: NodeId): Ledger['gitlab'] {
  if (!gitlab.leftSides?.some(({ open }) => open.some((one) => one.node === node))) return gitlab;
  const without = gitlab.leftSides.map((one) => ({ ...one, open: one.open.filter((side) => side.node !== node) }));
  const leftSides = without.filter(({ open, forks }) => open.length + forks.length > 0);
  const { leftSides: _before, ...rest } = gitlab;
  return leftSides.length === 0 ? rest : { ...rest, leftSides };
}
