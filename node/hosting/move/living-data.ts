import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { sentenceOf } from '../../../protocol/errors.ts';
import { isFencedName } from '../../../protocol/fenced.ts';
import type { Ledger } from '../../../protocol/ledger.ts';
import { compareRounds, type RoundName, roundText } from '../../../protocol/round-name.ts';
import { goesOnWithout } from '../../../scheduler/hosting/sides.ts';
import { makeFolder } from '../../store/home.ts';
import { asAfterPowerCut } from '../after-power-cut.ts';
import type { PlaceAt } from '../place-choice.ts';
import { placeProblem } from '../place-problem.ts';
import { type DataOwner, markedEpoch, markerFile, writeMarker } from '../place-records.ts';
import { treeOf } from '../place-tree.ts';
import { bulkBeside } from '../replica/bulk-beside.ts';
import type { SystemTools } from '../system-tools.ts';
import { keptRounds, roundFolder } from '../vault/kept-rounds.ts';
import { dropFolder, missingIn, parts } from '../vault/vault-tree.ts';

/*
 * GitLab's living data where its host changes (SAFETY H10). The machine that hosts from now on makes them of the base that the
 * ledger names, out of its copies; what a machine served before goes out of the way and is never served again. Each step may have
 * been done by an agent that ended before the last, so what comes next is told by what lies there:
 *
 *     TREE/based           half made, or whole: whole as soon as its marker is of the new epoch
 *     TREE/fenced-EPOCH    what was served here in an epoch that is over, and that the mesh goes on without
 */

interface Living {
  place: PlaceAt;
  /** Whose they are, with the epoch that begins. */
  owner: DataOwner;
}

/** Of what round. */
type Making = Living & { base: RoundName };

const basedFolder = (tree: string): string => join(tree, 'based');
/** Data like these, by their folders' names. */
export const fencedNames = (tree: string): string[] => readdirSync(tree).filter(isFencedName);

/** Of epoch 0 what did not say whose it is. Part of it may lie there since an agent ended. */
function fencedFolder(tree: string, epoch: number): string {
  for (let again = 1; ; again++) {
    const folder = join(tree, `fenced-${epoch}${again === 1 ? '' : `-${again}`}`);
    if (parts.every((name) => !existsSync(join(folder, name)) || !existsSync(join(tree, name)))) return folder;
  }
}

/** With the data themselves these go too. */
export async function dropLeftOfMoves(tree: string, tools: SystemTools): Promise<void> {
  if (!existsSync(tree)) return;
  for (const folder of [basedFolder(tree), ...fencedNames(tree).map((name) => join(tree, name))])
    await dropFolder(folder, tools);
}

/** The data here are those of that epoch, as it began with them or as GitLab has had them since. */
export const areOf = (place: PlaceAt, owner: DataOwner): boolean =>
  markedEpoch(join(treeOf(place), 'live', 'data'), owner) === owner.epoch &&
  ['bulk', 'logs'].every((name) => existsSync(join(treeOf(place), name)));

/**
 * The data with which `owner.epoch` begins, made of round `base` of this machine's copies. GitLab is not running, and nobody else
 * has the place open. `ready`: a folder with `live` and `bulk` that were made of that very round and are written to by a GitLab that was
 * booted beside the grace: they are taken, and it runs on. What is to be known of them, as sentences. Throws `data-place`; then nothing
 * that lay there has gone.
 */
export async function makeOfBase(
  { place, owner, base, ready = null }: Making & { ready?: string | null },
  tools: SystemTools,
): Promise<string[]> {
  const tree = treeOf(place);
  const based = basedFolder(tree);
  refuseLater(place, owner);
  const isMade = [tree, based].some((at) => markedEpoch(join(at, 'live', 'data'), owner) === owner.epoch);
  const made = (): Promise<string[]> =>
    ready === null ? snapshotBase({ place, owner, base }, tools) : takeReady({ place, owner, base, ready }, tools);
  const notes = isMade ? [] : await made();
  if (!isHalfMoved(tree) && markedEpoch(join(tree, 'live', 'data'), owner) !== owner.epoch)
    await clearAway(place, owner, base, tools);
  if (!existsSync(join(tree, 'logs'))) await tools.run('btrfs', ['subvolume', 'create', join(tree, 'logs')]);
  // GitLab's own users pass through it in the container.
  chmodSync(join(tree, 'logs'), 0o755);
  // By its number, which it keeps under its new name: a delete of the living data refuses.
  const live = ['based/live', 'live'].map((name) => join(tree, name)).find((folder) => existsSync(folder));
  if (place.kind === 'image' && live !== undefined) await tools.run('btrfs', ['subvolume', 'set-default', live]);
  // The one with the marker last: with it all is there.
  for (const name of ['bulk', 'live'])
    if (existsSync(join(based, name))) await tools.rename(join(based, name), join(tree, name));
  await tools.run('sync', ['-f', tree]);
  await dropFolder(based, tools);
  return notes;
}

/** The bulk part has come from there, and the one with the marker has not. */
const isHalfMoved = (tree: string): boolean =>
  existsSync(join(basedFolder(tree), 'live')) &&
  !existsSync(join(basedFolder(tree), 'bulk')) &&
  !existsSync(join(tree, 'live')) &&
  existsSync(join(tree, 'bulk'));

/** What is the default of its file system cannot be deleted. */
async function freed(place: PlaceAt, tools: SystemTools): Promise<void> {
  if (place.kind === 'image') await tools.run('btrfs', ['subvolume', 'set-default', '5', treeOf(place)]);
}

/** What an agent that ended had half made of another base, or of the same. */
async function dropHalf(place: PlaceAt, tools: SystemTools): Promise<void> {
  const tree = treeOf(place);
  if (!existsSync(basedFolder(tree))) return;
  await freed(place, tools);
  if (isHalfMoved(tree)) await tools.run('btrfs', ['subvolume', 'delete', '--commit-after', join(tree, 'bulk')]);
  await dropFolder(basedFolder(tree), tools);
}

/** What was booted beside is the new epoch's from here on, by its marker; its own processes write to it meanwhile. */
async function takeReady(
  { place, owner, base, ready }: Making & { ready: string },
  tools: SystemTools,
): Promise<string[]> {
  const tree = treeOf(place);
  const based = basedFolder(tree);
  const live = join(ready, 'live');
  refuseStrange(live, roundText(base), { ...owner, epoch: base.epoch });
  const hot = keptRounds(tree, 'hot').find((one) => compareRounds(one.name, base) === 0);
  await dropHalf(place, tools);
  makeFolder(based, 0o700);
  await tools.rename(live, join(based, 'live'));
  await tools.rename(join(ready, 'bulk'), join(based, 'bulk'));
  await mark(join(based, 'live', 'data'), owner, tree, tools);
  return hot !== undefined && bulkBeside(hot, keptRounds(tree, 'bulk')) !== null ? [] : [withoutBulk(base)];
}

const withoutBulk = (base: RoundName): string =>
  `of artifacts and packages nothing had come here with round ${roundText(base)}: GitLab begins without those`;

/** Whoever is root in GitLab's container writes in there: what lies under the marker's name may be a link. */
async function mark(
  data: string,
  { mesh, data: id, epoch }: DataOwner,
  tree: string,
  tools: SystemTools,
): Promise<void> {
  rmSync(join(data, `${markerFile}.new`), { force: true, recursive: true });
  await tools.run('sync', ['-f', tree]);
  await writeMarker(data, { mesh, data: id, epoch }, tools);
  await tools.run('sync', ['-f', tree]);
}

/** Beside what lies there, whole, as after a power cut, with the marker of the new epoch, and on the disk. */
async function snapshotBase({ place, owner, base }: Making, tools: SystemTools): Promise<string[]> {
  const tree = treeOf(place);
  const based = basedFolder(tree);
  const name = roundText(base);
  const hot = keptRounds(tree, 'hot').find((one) => compareRounds(one.name, base) === 0);
  if (hot === undefined)
    throw placeProblem(
      `round ${name}, with which epoch ${owner.epoch} begins, is not on this machine`,
      `see which are, and bring back the disk that has it: ls ${join(tree, 'copies', 'hot', 'rounds')}`,
    );
  const from = roundFolder(tree, 'hot', base);
  refuseStrange(from, name, { ...owner, epoch: base.epoch });
  const bulk = bulkBeside(hot, keptRounds(tree, 'bulk'));
  const bulkFrom = bulk && roundFolder(tree, 'bulk', bulk.name);
  await dropHalf(place, tools);
  makeFolder(based, 0o700);
  try {
    await tools.run('btrfs', ['subvolume', 'snapshot', from, join(based, 'live')]);
    const [data, bulkTo] = [join(based, 'live', 'data'), join(based, 'bulk')];
    await tools.run('btrfs', ['subvolume', ...(bulkFrom === null ? ['create'] : ['snapshot', bulkFrom]), bulkTo]);
    chmodSync(bulkTo, 0o755);
    await asAfterPowerCut(data, tools);
    await mark(data, owner, tree, tools);
  } catch (error) {
    await dropHalf(place, tools).catch(() => undefined);
    throw placeProblem(
      `GitLab's data cannot be made of round ${name}: ${sentenceOf(error)}`,
      `look at the disk, and make room there: df -h ${place.path}; dmesg | tail`,
      error,
    );
  }
  return bulk === null ? [withoutBulk(base)] : [];
}

/** What another machine sent: half of a GitLab, of another epoch, or with a link in the place of a folder that a container gets. */
function refuseStrange(from: string, name: string, owner: DataOwner): void {
  const look = `nothing is started on it: ls -la ${from}`;
  for (const folder of [from, join(from, 'config'), join(from, 'data')])
    if (lstatSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true)
      throw placeProblem(`round ${name} is half of a GitLab: ${folder} is no folder`, look);
  const epoch = markedEpoch(join(from, 'data'), owner);
  if (epoch !== owner.epoch)
    throw placeProblem(`round ${name} holds ${epoch === null ? 'no marker of ours' : `data of epoch ${epoch}`}`, look);
  const missing = missingIn(from);
  if (missing !== null) throw placeProblem(`round ${name} is half of a GitLab: ${missing} is not in it`, look);
}

interface GivenUp extends Living {
  /** The ledger of now: what it says was served beside goes out of the way, also where it is of a later epoch. */
  ledger: Ledger | null;
  /** With which round each epoch began, as the ledger has it. */
  bases: Readonly<Record<string, RoundName>>;
  /** An epoch that was given up here before anybody was let in; null where there was none. */
  unserved: number | null;
}

/**
 * Another machine hosts from now on. What this one served last is deleted where the mesh goes on with exactly that (the next epoch
 * began with a round that was taken of it here after GitLab had ended), or where nobody was ever served of it; else it may be more
 * than the mesh has, and is kept out of the way.
 */
export async function giveUpLiving(
  { place, owner, ledger, bases, unserved }: GivenUp,
  tools: SystemTools,
): Promise<void> {
  const epoch = markedEpoch(join(treeOf(place), 'live', 'data'), owner);
  // Of a side of a recovery by force with which the mesh does not go on: it is compared with what serves, as what was served until then is.
  if (epoch === null || !goesOnWithout(ledger, epoch)) refuseLater(place, owner);
  await dropHalf(place, tools);
  if (epoch !== null && epoch === unserved) return dropLiving(place, tools);
  const base = Object.entries(bases).find(([began, { epoch: of }]) => of === epoch && Number(began) > of)?.[1];
  await clearAway(place, owner, base ?? null, tools);
}

/** After a recovery by force with an older ledger these are the newest data that there are: a person deploys on them again. */
function refuseLater(place: PlaceAt, owner: DataOwner): void {
  const epoch = markedEpoch(join(treeOf(place), 'live', 'data'), owner);
  if (epoch === null || epoch <= owner.epoch) return;
  throw placeProblem(
    `${place.path} holds GitLab's data of epoch ${epoch}, which are later than the mesh knows (${owner.epoch}): they are left as they are`,
    `have it run on them again: autogit-node gitlab uninstall --now && autogit-node gitlab deploy --data ${place.path}`,
  );
}

/** What lies there goes where `base` is all of it, taken of it here; else it is kept out of the way. */
async function clearAway(place: PlaceAt, owner: DataOwner, base: RoundName | null, tools: SystemTools): Promise<void> {
  const tree = treeOf(place);
  if (!parts.some((name) => existsSync(join(tree, name)))) return;
  const isInBase = base !== null && (await isAllIn(tree, owner, base, tools));
  await (isInBase ? dropLiving(place, tools) : setAside(place, owner, tools));
}

/** The part with the marker last: as long as it is there it is known what this was. */
async function dropLiving(place: PlaceAt, tools: SystemTools): Promise<void> {
  const tree = treeOf(place);
  await freed(place, tools);
  for (const name of ['bulk', 'live'])
    if (existsSync(join(tree, name)))
      await tools.run('btrfs', ['subvolume', 'delete', '--commit-after', join(tree, name)]);
}

/** That round is of these data, and nothing was written here since it was taken of them. */
async function isAllIn(tree: string, owner: DataOwner, base: RoundName, tools: SystemTools): Promise<boolean> {
  if (markedEpoch(join(tree, 'live', 'data'), owner) !== base.epoch) return false;
  const hot = keptRounds(tree, 'hot').find(({ name }) => compareRounds(name, base) === 0);
  const bulk = hot && bulkBeside(hot, keptRounds(tree, 'bulk'));
  if (hot === undefined || bulk == null) return false;
  await tools.run('btrfs', ['filesystem', 'sync', tree]);
  const isIn = async (living: string, round: string): Promise<boolean> => {
    if (!existsSync(living)) return true;
    const [now, then] = [await shown(living, tools), await shown(round, tools)];
    return then.from === now.own && now.generation <= then.generation;
  };
  return (
    (await isIn(join(tree, 'live'), roundFolder(tree, 'hot', hot.name))) &&
    (await isIn(join(tree, 'bulk'), roundFolder(tree, 'bulk', bulk.name)))
  );
}

async function shown(path: string, tools: SystemTools): Promise<{ own: string; from: string; generation: number }> {
  const text = await tools.run('btrfs', ['subvolume', 'show', path]);
  const field = (name: string): string => new RegExp(`^\\s*${name}:\\s*(\\S+)`, 'm').exec(text)?.[1] ?? '';
  return { own: field('UUID'), from: field('Parent UUID'), generation: Number(field('Generation')) };
}

/** The part with the marker last: as long as it is there its epoch is known. */
async function setAside(place: PlaceAt, owner: DataOwner, tools: SystemTools): Promise<void> {
  const tree = treeOf(place);
  await freed(place, tools);
  const folder = fencedFolder(tree, markedEpoch(join(tree, 'live', 'data'), owner) ?? 0);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const name of ['bulk', 'live'])
    if (existsSync(join(tree, name))) await tools.rename(join(tree, name), join(folder, name));
  await tools.run('sync', ['-f', tree]);
}
