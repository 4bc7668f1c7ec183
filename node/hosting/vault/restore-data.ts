import { join } from 'node:path';
import { ZodError } from 'zod';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import { compareRounds, type RoundName } from '../../../protocol/round-name.ts';
import { makeFolder } from '../../store/home.ts';
import { asAfterPowerCut } from '../after-power-cut.ts';
import type { DataPlace } from '../data-place.ts';
import { fitGitlabRb } from '../gitlab-rb-file.ts';
import { treeOf } from '../place-tree.ts';
import { bulkBeside } from '../replica/bulk-beside.ts';
import type { SystemTools } from '../system-tools.ts';
import { historyHint, versionOf } from './backup-rows.ts';
import { keptRounds, roundFolder, roundOf, versionIn } from './kept-rounds.ts';
import type { Restic } from './restic.ts';
import {
  About,
  aboutFile,
  dropFolder,
  missingIn,
  parts,
  readAbout,
  replacedFolder,
  restoringFolder,
  spareReplaced,
} from './vault-tree.ts';

interface Restoring {
  place: DataPlace;
  restic: Restic | null;
  /** A backup's id, a round's, or `replaced-EPOCH`. */
  backup: string;
  tools: SystemTools;
  signal: AbortSignal;
  say(phase: string): void;
  /** What is said of the data of now; a round has no such note in it. */
  now: About;
  /** By which the mesh has GitLab. */
  url: string;
  /** What earlier restores have replaced may go, where there is no room else: nothing that is under way needs it. */
  mayLetGo: boolean;
}

/** Data that GitLab can begin with, and the folder in which they lie. */
interface Restorable {
  source: string;
  about: About;
  /** What was changed of them, and what to know, as ends of a sentence. */
  notes: string[];
}

/**
 * The data of that backup beside the ones that serve, whole, read again, and of GitLab's exact version. Nothing of what is now
 * is touched.
 */
export async function restoreBeside(what: Restoring): Promise<Restorable> {
  const { place, restic, backup, tools, signal, say } = what;
  const tree = treeOf(place);
  const replaced = /^replaced-(\d+)$/.exec(backup)?.[1];
  if (replaced !== undefined) {
    const source = replacedFolder(tree, Number(replaced));
    const about = readAbout(source);
    if (about === null) throw refused(`there are no data of before the restore of epoch ${replaced} here`);
    // What is of before an upgrade comes back with the image of then.
    if (about.isPinned !== true) fits(about, what);
    return { source, about, notes: [] };
  }
  const round = roundOf(backup);
  if (round !== null) return roundBeside(what, round);
  if (restic === null)
    throw refused('no place for backups is named', 'autogit-node gitlab backup --to /mnt/disk/gitlab');
  say('looks at the backup');
  const about = await aboutOf(restic, backup, signal);
  fits(about, what);
  const source = restoringFolder(tree);
  await dropFolder(source, tools);
  const gone: string[] = [];
  try {
    await makeRoom(what, (await restic.sizeOf(backup, signal)) * 1.05, gone);
    makeFolder(source, 0o700);
    for (const name of parts) await tools.run('btrfs', ['subvolume', 'create', join(source, name)]);
    say('restores the backup beside what serves');
    await restic.restore(backup, source, signal);
    const notes = await settled(source, what);
    return { source, about, notes: [...notes, ...goneWords(gone)] };
  } catch (error) {
    await dropFolder(source, tools).catch(() => undefined);
    if (gone.length === 0) throw error;
    const { message, hint } = error instanceof AutogitError ? error : { message: sentenceOf(error), hint: historyHint };
    throw refused([message, ...goneWords(gone)].join('; '), hint);
  }
}

/** One after the other, as much as it takes, and none where there is room. `gone`: those that went. */
async function makeRoom(
  { place, backup, tools, say, mayLetGo }: Restoring,
  bytes: number,
  gone: string[],
): Promise<void> {
  const tree = treeOf(place);
  for (;;)
    try {
      return await place.makeRoom(bytes);
    } catch (error) {
      const [oldest] = mayLetGo ? spareReplaced(tree, 1, backup) : [];
      if (oldest === undefined) throw error;
      say(`lets replaced-${oldest} go for its room`);
      await dropFolder(replacedFolder(tree, oldest), tools);
      gone.push(`replaced-${oldest}`);
      // Its room is there once the file system has cleaned up behind it.
      await tools.run('btrfs', ['subvolume', 'sync', tree]);
    }
}

const goneWords = (gone: readonly string[]): string[] =>
  gone.length === 0 ? [] : [`${gone.join(', ')} had to go for its room`];

/** A writable snapshot of that round: it takes no room, and a moment. */
async function roundBeside(what: Restoring, name: RoundName): Promise<Restorable> {
  const { place, backup, tools, say, now } = what;
  const tree = treeOf(place);
  const hot = keptRounds(tree, 'hot').find((one) => compareRounds(one.name, name) === 0);
  if (hot === undefined) throw refused(`${backup} is not on this machine, or was thinned meanwhile`);
  const bulk = bulkBeside(hot, keptRounds(tree, 'bulk'));
  if (bulk === null) throw refused(`of artifacts and packages there is no round here that goes with ${backup}`);
  const from = { live: roundFolder(tree, 'hot', name), bulk: roundFolder(tree, 'bulk', bulk.name) };
  const version = versionOf(from.live, tree, now.version);
  if (version === null) throw refused(unversioned(backup));
  // The image of then by the name of the one of now, as far as that is told by its version.
  const image = now.image.replaceAll(now.version, version);
  const about: About = { ...now, version, image, epoch: name.epoch, at: hot.wallMs };
  fits(about, what);
  const source = restoringFolder(tree);
  await dropFolder(source, tools);
  makeFolder(source, 0o700);
  try {
    say('puts the round beside what serves');
    for (const part of parts)
      await tools.run('btrfs', ['subvolume', 'snapshot', from[part], join(source, part)]).catch((error: unknown) => {
        throw refused(
          `${backup} cannot be put beside what serves, it may have been thinned meanwhile: ${sentenceOf(error)}`,
        );
      });
    return { source, about, notes: await settled(source, what) };
  } catch (error) {
    await dropFolder(source, tools).catch(() => undefined);
    throw error;
  }
}

/** It is whole, as after a power cut, made to answer a gate, and on the disk. */
async function settled(source: string, { backup, place, tools, url }: Restoring): Promise<string[]> {
  const missing = missingIn(join(source, 'live'));
  if (missing !== null) throw refused(`${backup} is half of a GitLab: live/${missing} is not in it`);
  await asAfterPowerCut(join(source, 'live', 'data'), tools);
  // It may be of a GitLab that somebody ran without the mesh: its own gitlab.rb wins over all that the mesh says.
  const notes = await fitGitlabRb(join(source, 'live', 'config'), url);
  await tools.run('sync', ['-f', treeOf(place)]);
  return notes;
}

async function aboutOf(restic: Restic, backup: string, signal: AbortSignal): Promise<About> {
  try {
    return About.parse(JSON.parse(await restic.dump(backup, `/${aboutFile}`, signal)));
  } catch (cause) {
    // Somebody's own backup has no such file, or another one by its name; what else is wrong is wrong with the repository.
    const isForeign =
      cause instanceof SyntaxError || cause instanceof ZodError || /not found in snapshot/.test(sentenceOf(cause));
    if (!isForeign) throw cause;
    throw new AutogitError('backup', `${backup} is no backup of a GitLab that a mesh runs`, {
      cause,
      hint: 'which there are: autogit-node gitlab history',
    });
  }
}

/** `told`: by another machine, of a round that is not here yet. */
export function fitsRound(told: string | null, what: Restoring): void {
  const { backup, place, now } = what;
  if (told === null) throw refused(unversioned(backup));
  const version = told === versionIn(join(treeOf(place), 'live')) ? now.version : told;
  fits({ ...now, version, image: now.image.replaceAll(now.version, version) }, what);
}

const unversioned = (backup: string): string =>
  `${backup} does not say of which GitLab version it is, and GitLab takes data of its own only`;

/** GitLab takes data of exactly its own version; another one migrates them half, or not at all. */
function fits({ version, image }: About, what: Restoring): void {
  if (version !== what.now.version)
    throw refused(
      `${what.backup} is of GitLab ${version}, and ${what.now.version} runs here: it takes data of exactly its own version`,
      otherVersion(what.backup, image),
    );
}

/** A round is of the data that run here, and an older GitLab cannot be deployed on those; of a project the version is no matter. */
function otherVersion(id: string, image: string): string {
  const project = `one project of it: autogit-node gitlab restore ${id} --project group/name`;
  return /^(round|replaced)-/.test(id)
    ? `${project}; what an upgrade replaced comes back with its own version: autogit-node gitlab history`
    : `${project}; all of it: uninstall GitLab, which keeps its data, then on another folder: autogit-node gitlab deploy --image ${image} --data DIR`;
}

const refused = (sentence: string, hint = historyHint): AutogitError => new AutogitError('backup', sentence, { hint });
