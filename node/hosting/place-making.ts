import { chmodSync, existsSync, mkdirSync, rmdirSync, rmSync, statfsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { sentenceOf } from '../../protocol/errors.ts';
import { diskOf } from '../disk-use.ts';
import { showBytes } from '../settings/quantities.ts';
import { makeFolder } from '../store/home.ts';
import { dropCloneTree } from './clone/clone-tree.ts';
import type { DataPlace, PlaceRoom, PlaceWish } from './data-place.ts';
import { HostMounts } from './host-mounts.ts';
import { LoopImage } from './loop-image.ts';
import { holdersBelow, sayHolder } from './mount-table.ts';
import { dropLeftOfMoves } from './move/living-data.ts';
import { OpenPlace } from './open-place.ts';
import { ownersReserve, type PlaceAt } from './place-choice.ts';
import { placeProblem } from './place-problem.ts';
import {
  claimPath,
  contentOf,
  type DataOwner,
  markedEpoch,
  type PlaceClaim,
  readClaim,
  writeClaim,
  writeMarker,
} from './place-records.ts';
import {
  broughtOf,
  copiesOf,
  existingAt,
  imageOf,
  mountPointOf,
  realFolder,
  subvolumes,
  treeOf,
} from './place-tree.ts';
import { presets } from './presets.ts';
import { dropRounds } from './replica/btrfs-replica.ts';
import { type SystemTools, systemTools } from './system-tools.ts';
import { dropAll } from './vault/vault-tree.ts';

/** What its data take at first, or `needBytes` where that is more, and what of the disk stays its owner's. */
export function roomForData({ preset, place }: RoomWish, needBytes = 0): { bytes: number; reserveBytes: number } {
  const { totalBytes } = diskOf(statfsSync(existingAt(place.path)));
  return { bytes: Math.max(presets[preset].leastDiskBytes, needBytes), reserveBytes: ownersReserve(totalBytes) };
}

interface RoomWish {
  preset: keyof typeof presets;
  place: { path: string };
}

export async function openPlace(
  wanted: PlaceAt,
  wish: PlaceWish,
  tools: SystemTools = systemTools,
  mounts = new HostMounts(tools),
): Promise<DataPlace> {
  const place = { ...wanted, path: realFolder(wanted.path) };
  const claim = ownClaim(place, wish) ?? (await claimAnew(place, wish, tools));
  if (claim.state === 'removing')
    throw placeProblem(
      `${place.path} is being removed`,
      'let that come to its end: autogit-node gitlab uninstall --delete-data',
    );
  if (claim.state === 'making' && wish.create === null)
    throw placeProblem(`${place.path} was never made to its end`, 'deploy again into another folder: --data DIR');
  const { role = 'host' } = wish;
  const image = place.kind === 'image' ? new LoopImage(imageOf(place.path), tools, mounts) : null;
  const open = new OpenPlace(place, wish, { image, mounts, tools, claim, role });
  try {
    if (image && claim.state === 'making' && !existsSync(image.path))
      await LoopImage.create(image.path, (wish.create as PlaceRoom).bytes, tools);
    if (image) await open.attach(image);
    if (claim.state === 'making') {
      if (role === 'host') await makeTree(place, wish, tools);
      else makeFolder(copiesOf(treeOf(place)), 0o700);
      await open.said({ state: 'made', fsid: image?.fsid ?? null });
    } else if (role === 'standby') makeFolder(copiesOf(treeOf(place)), 0o700);
    else if (wish.create !== null) await takeUp(open.folders.data, wish, tools);
    if (wish.isUnchecked) return open;
    await open.check();
    if (claim.role !== role) await open.said({ role });
    return open;
  } catch (error) {
    await open.letGo();
    throw error;
  }
}

/** Deletes all of it; only where a person said so twice. Does nothing where nothing of it is left. */
export async function removePlace(
  wanted: PlaceAt,
  { mesh, data }: Pick<DataOwner, 'mesh' | 'data'>,
  _said: { deleteData: true },
  tools: SystemTools = systemTools,
  mounts = new HostMounts(tools),
): Promise<void> {
  const place = { ...wanted, path: realFolder(wanted.path) };
  const { path } = place;
  const claim = ownClaim(place, { mesh, data });
  if (claim === null) {
    if (contentOf(path) !== 'foreign') return;
    throw placeProblem(`${path} holds files that are not the mesh's: nothing is deleted`, `look at it: ls -la ${path}`);
  }
  const tree = treeOf(place);
  const holder = place.kind === 'image' ? undefined : holdersBelow(path)[0];
  if (holder)
    throw placeProblem(
      `${path} is still held by ${sayHolder(holder)}`,
      'end that container, then try again: docker ps',
    );
  await writeClaim(path, { ...claim, state: 'removing' }, tools);
  if (place.kind === 'image') {
    const image = new LoopImage(imageOf(path), tools, mounts);
    const point = mountPointOf(path);
    if (existsSync(image.path) && (await image.found(point))) await image.detach();
    for (const file of [image.path, `${image.path}.new`]) rmSync(file, { force: true });
    if (existsSync(point)) {
      await tools.run('chattr', ['-i', point]).catch(() => '');
      rmdirSync(point);
    }
  } else {
    if (place.kind === 'subvolume') {
      await dropAll(tree, tools);
      await dropLeftOfMoves(tree, tools);
      await dropCloneTree(tree, tools);
      for (const folder of [copiesOf(tree), broughtOf(tree)]) await dropRounds(folder, tools);
    }
    const folders = subvolumes.map((name) => join(tree, name)).filter((folder) => existsSync(folder));
    if (folders.length > 0 && place.kind === 'subvolume')
      await tools.run('btrfs', ['subvolume', 'delete', '--commit-after', ...folders]);
    if (folders.length > 0 && place.kind === 'folder')
      await tools.run('rm', ['-rf', '--one-file-system', '--', ...folders]);
  }
  rmSync(claimPath(path));
  if (contentOf(path) === 'empty' && !existsSync(join(path, 'lost+found'))) rmdirSync(path);
}

/** Null where there is none. Throws where it is another's. */
function ownClaim({ path, kind }: PlaceAt, { mesh, data }: Pick<DataOwner, 'mesh' | 'data'>): PlaceClaim | null {
  const claim = readClaim(path);
  if (claim === null) return null;
  const fix = `look at it: cat ${claimPath(path)}`;
  if (claim.mesh !== mesh) throw placeProblem(`${path} holds the data of another mesh`, fix);
  if (claim.data !== data) throw placeProblem(`${path} holds the data of another GitLab of this mesh`, fix);
  if (claim.kind !== kind) throw placeProblem(`${path} was made as ${claim.kind}, and the mesh calls it ${kind}`, fix);
  return claim;
}

async function claimAnew({ path, kind }: PlaceAt, wish: PlaceWish, tools: SystemTools): Promise<PlaceClaim> {
  const content = contentOf(path);
  if (content === 'foreign')
    throw placeProblem(`${path} holds files that are not the mesh's`, 'name an empty folder: --data DIR');
  const room = wish.create;
  if (room === null)
    throw placeProblem(
      `GitLab's data are not at ${path}`,
      `see whether its disk is mounted: findmnt -T ${dirname(path)}`,
    );
  try {
    makeFolder(path, 0o700);
  } catch (error) {
    throw placeProblem(`${path} cannot be made: ${sentenceOf(error)}`, 'name another folder: --data DIR', error);
  }
  const { freeBytes } = diskOf(statfsSync(path));
  if (freeBytes - room.bytes < room.reserveBytes)
    throw placeProblem(
      `${path} has ${showBytes(freeBytes)} free: GitLab needs ${showBytes(room.bytes)}, and ${showBytes(room.reserveBytes)} stay for the machine's owner`,
      `make room there: df -h ${path}`,
    );
  const { mesh, data } = wish;
  const claim: PlaceClaim = { mesh, data, kind, state: 'making', fsid: null, reserveBytes: room.reserveBytes };
  await writeClaim(path, claim, tools);
  await tools.syncFolder(dirname(path));
  return claim;
}

/**
 * The data of a GitLab that was uninstalled, or never came up, for the epoch in which the ledger has them again: their old
 * epoch was closed before that could be written.
 */
async function takeUp(data: string, owner: DataOwner, tools: SystemTools): Promise<void> {
  const epoch = markedEpoch(data, owner);
  if (epoch === null || epoch >= owner.epoch) return;
  const { mesh } = owner;
  await writeMarker(data, { mesh, data: owner.data, epoch: owner.epoch }, tools);
  await tools.run('sync', ['-f', data]);
}

/** Each step may have been done by an agent that ended before the last. */
async function makeTree(place: PlaceAt, owner: DataOwner, tools: SystemTools): Promise<void> {
  const tree = treeOf(place);
  for (const name of subvolumes) {
    const folder = join(tree, name);
    if (existsSync(folder)) continue;
    if (place.kind === 'folder') mkdirSync(folder);
    else await tools.run('btrfs', ['subvolume', 'create', folder]);
  }
  // So that a delete of the living data refuses; mounted is the root all the same. Never on a file system of the owner's.
  if (place.kind === 'image') await tools.run('btrfs', ['subvolume', 'set-default', join(tree, 'live')]);
  const [config, data] = [join(tree, 'live', 'config'), join(tree, 'live', 'data')];
  for (const folder of [config, data]) mkdirSync(folder, { recursive: true });
  // GitLab's own users pass through them in the container; nobody of the machine comes through the folder above.
  for (const folder of [...subvolumes.map((name) => join(tree, name)), config, data]) chmodSync(folder, 0o755);
  const { mesh, epoch } = owner;
  await writeMarker(data, { mesh, data: owner.data, epoch }, tools);
  await tools.run('sync', ['-f', tree]);
}
