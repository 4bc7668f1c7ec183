import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { AutogitError } from '../../../protocol/errors.ts';
import { type EpochCounts, isEpochAfter } from '../../../scheduler/hosting/epochs.ts';
import { makeFolder } from '../../store/home.ts';
import type { PlaceAt } from '../place-choice.ts';
import { type DataOwner, markedEpoch, writeMarker } from '../place-records.ts';
import { treeOf } from '../place-tree.ts';
import type { SystemTools } from '../system-tools.ts';
import { type About, aboutFile, dropFolder, parts, replacedFolder } from './vault-tree.ts';

interface Swap {
  place: PlaceAt;
  /** Whose they are, with the epoch that is over. */
  owner: DataOwner;
  /** The epoch that follows. */
  next: number;
  /** The ledger of now, which may count otherwise than that of when they were marked. */
  ledger: EpochCounts | null;
  /** The folder whose data shall be GitLab's. */
  source: string;
  /** What is said of the data that go out of the way. */
  about: About;
}
type Marking = Pick<Swap, 'place' | 'owner' | 'next' | 'ledger'>;
type Undo = Pick<Swap, 'place' | 'owner' | 'source'>;

/**
 * The data in `source` become those of the next epoch, and what was there lies in `replaced-EPOCH`, as it was. GitLab has ended
 * before, and its gate is closed for its epoch. Each step may have been done by an agent that ended before the last.
 */
export async function swapData({ place, owner, next, ledger, source, about }: Swap, tools: SystemTools): Promise<void> {
  const tree = treeOf(place);
  const old = replacedFolder(tree, owner.epoch);
  if (existsSync(join(source, 'live'))) {
    await writeMarker(join(source, 'live', 'data'), { ...owner, epoch: next }, tools);
    await tools.run('sync', ['-f', tree]);
  }
  makeFolder(old, 0o700);
  await tools.write(join(old, aboutFile), JSON.stringify(about));
  for (const name of parts) {
    if (!existsSync(join(source, name))) continue;
    if (existsSync(join(tree, name))) await tools.rename(join(tree, name), join(old, name));
    await tools.rename(join(source, name), join(tree, name));
  }
  // Each part came from there, now or by an agent of before: else an epoch would begin with what it was to replace.
  const gone = parts.find((name) => !existsSync(join(old, name)));
  if (gone !== undefined)
    throw new AutogitError('data-place', `the data in ${source} are not there any more: ${gone} has gone from it`, {
      hint: `see what is left: ls -la ${tree}`,
    });
  await markFollowing({ place, owner, next, ledger }, tools);
  await settle(place, tools);
  // Done: what of its folder stays goes with the next restore.
  await dropFolder(source, tools).catch(() => undefined);
}

/** Of the living data, which stay: those of the epoch that is over are those of the next one, and go on the disk with what follows. */
export async function markNext({ place, owner, next, ledger }: Marking, tools: SystemTools): Promise<void> {
  const data = join(treeOf(place), 'live', 'data');
  if (markedEpoch(data, owner) === owner.epoch) await writeMarker(data, { ...owner, epoch: next }, tools);
  else await markFollowing({ place, owner, next, ledger }, tools);
}

/**
 * What lies there was marked for the epoch that follows, and a recovery by force since then counts that otherwise: it is marked anew.
 * False where nothing was to be done; whatever else is marked there stays.
 */
export async function markFollowing({ place, owner, next, ledger }: Marking, tools: SystemTools): Promise<boolean> {
  const data = join(treeOf(place), 'live', 'data');
  const marked = markedEpoch(data, owner);
  if (marked === null || marked === next || !isEpochAfter(marked, owner.epoch, ledger)) return false;
  await writeMarker(data, { ...owner, epoch: next }, tools);
  await tools.run('sync', ['-f', treeOf(place)]);
  return true;
}

/** It could not be done: what was there is there again, for the next epoch, as the gate of this one is closed for good. */
export async function keepData(
  { place, owner, next, ledger, source }: Omit<Swap, 'about'>,
  tools: SystemTools,
): Promise<void> {
  const tree = treeOf(place);
  const old = replacedFolder(tree, owner.epoch);
  await undo({ place, owner, source }, tools);
  await markNext({ place, owner, next, ledger }, tools);
  await settle(place, tools);
  await dropFolder(old, tools);
}

/**
 * Nobody goes on with a swap that was begun, as GitLab is given up or uninstalled here: where it is half done what was there comes
 * back, in the epoch that it had. Whole, or not begun, it stays as it is.
 */
export async function leaveData({ place, owner, source }: Undo, tools: SystemTools): Promise<void> {
  const tree = treeOf(place);
  const old = replacedFolder(tree, owner.epoch);
  const isBegun = parts.some((name) => existsSync(join(old, name)));
  const isWhole = parts.every((name) => existsSync(join(old, name)) && existsSync(join(tree, name)));
  if (!isBegun || isWhole) return;
  await undo({ place, owner, source }, tools);
  await settle(place, tools);
  await dropFolder(old, tools);
}

async function undo({ place, owner, source }: Undo, tools: SystemTools): Promise<void> {
  const tree = treeOf(place);
  const old = replacedFolder(tree, owner.epoch);
  makeFolder(source, 0o700);
  for (const name of parts) {
    if (!existsSync(join(old, name))) continue;
    if (existsSync(join(tree, name))) await tools.rename(join(tree, name), join(source, name));
    await tools.rename(join(old, name), join(tree, name));
  }
}

/** Of an image: a delete of the living data refuses again. Then on the disk. */
async function settle(place: PlaceAt, tools: SystemTools): Promise<void> {
  const tree = treeOf(place);
  if (place.kind === 'image') await tools.run('btrfs', ['subvolume', 'set-default', join(tree, 'live')]);
  await tools.run('sync', ['-f', tree]);
}
