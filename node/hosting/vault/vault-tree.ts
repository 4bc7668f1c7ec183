import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { ProtectedWay } from '../../../protocol/protected-gitlab.ts';
import { makeFolder } from '../../store/home.ts';
import { placeProblem } from '../place-problem.ts';
import { broughtOf } from '../place-tree.ts';
import { dropRounds } from '../replica/btrfs-replica.ts';
import { whyUnprotected } from '../replica/unprotected.ts';
import { readSmallFile } from '../small-file.ts';
import type { SystemTools } from '../system-tools.ts';

/** What GitLab is made of, each a subvolume of the data place. Logs are of no backup. */
export const parts = ['live', 'bulk'] as const;

/** Without these it is no GitLab: its secrets open what is in the database. */
const needed = ['config/gitlab-secrets.json', 'data/postgresql/data/PG_VERSION'];

/** What of that is not in these data; null where all of it is. */
export const missingIn = (live: string): string | null => needed.find((path) => !existsSync(join(live, path))) ?? null;

/** In each backup, and beside data that a restore has replaced: without it nobody knows which GitLab takes them. */
export const About = z.looseObject({
  form: z.literal(1),
  mesh: z.string().max(128),
  meshName: z.string().max(128),
  data: z.string().max(64),
  epoch: z.int().positive(),
  /** Exact, as GitLab says it itself. */
  version: z.string().min(1).max(64),
  image: z.string().max(512),
  at: z.number().nonnegative(),
  /** Of before an upgrade: no restore lets them go, only the next upgrade that stands. */
  isPinned: z.boolean().optional(),
  /** Only of a GitLab that runs without the mesh: from a snapshot, or by its own gitlab-backup. */
  way: ProtectedWay.optional(),
});
export type About = z.infer<typeof About>;
export const aboutFile = 'autogit-backup.json';
/** In a folder with what a machine served before another one took over: when a person had that compared (move/fenced-data.ts). */
export const lookedFile = 'autogit-looked.json';
/** There too: whether it is more than the mesh went on with (move/taken-beside.ts). */
export const tookFile = 'autogit-took.json';

export const snapshotFolder = (tree: string): string => join(tree, 'vault');
/** Writable, of what GitLab ended with: what a newer one begins with. */
export const upgradingFolder = (tree: string): string => join(tree, 'upgrading');
/** Read-only, for a clone. */
export const rehearsingFolder = (tree: string): string => join(tree, 'rehearsing');
export const restoringFolder = (tree: string): string => join(tree, 'restoring');
/** Data of then of which one project is wanted. */
export const thenFolder = (tree: string): string => join(tree, 'then');
export const replacedFolder = (tree: string, epoch: number): string => join(tree, `replaced-${epoch}`);

/** Null where there is none, or it makes no sense. */
export function readAbout(folder: string): About | null {
  try {
    return About.parse(JSON.parse(readSmallFile(join(folder, aboutFile))));
  } catch {
    return null;
  }
}

/** The epochs whose data a restore has replaced and left, the newest of them last. */
export function replacedEpochs(tree: string): number[] {
  return readdirSync(tree)
    .flatMap((name) => /^replaced-([1-9]\d{0,15})$/.exec(name)?.[1] ?? [])
    .map(Number)
    .filter((epoch) => parts.every((name) => existsSync(join(replacedFolder(tree, epoch), name))))
    .sort((a, b) => a - b);
}

/** One instant of all that is hot, and the bulk behind it, read-only and at the same path each time: what lies there of a try before goes. */
export async function takeSnapshot(tree: string, about: About, tools: SystemTools): Promise<string> {
  const hole = await whyUnprotected(
    parts.map((name) => join(tree, name)),
    tools,
  );
  if (hole !== null) throw placeProblem(hole, 'then again: autogit-node gitlab backup');
  const folder = snapshotFolder(tree);
  await dropFolder(folder, tools);
  makeFolder(folder, 0o700);
  await tools.run('sync', ['-f', tree]);
  for (const name of parts)
    await tools.run('btrfs', ['subvolume', 'snapshot', '-r', join(tree, name), join(folder, name)]);
  await tools.write(join(folder, aboutFile), JSON.stringify(about));
  return folder;
}

/** All of GitLab as it is, beside it: what lies there of a try before goes. */
export async function snapshotInto(
  folder: string,
  tree: string,
  isWritable: boolean,
  tools: SystemTools,
): Promise<void> {
  const hole = await whyUnprotected(
    parts.map((name) => join(tree, name)),
    tools,
  );
  if (hole !== null) throw placeProblem(hole, 'then again: autogit-node gitlab upgrade');
  await dropFolder(folder, tools);
  makeFolder(folder, 0o700);
  await tools.run('sync', ['-f', tree]);
  for (const name of parts)
    await tools.run('btrfs', [
      ...['subvolume', 'snapshot', ...(isWritable ? [] : ['-r'])],
      ...[join(tree, name), join(folder, name)],
    ]);
}

/** A folder of ours that has copies of the parts in it, whole or half. */
export async function dropFolder(folder: string, tools: SystemTools): Promise<void> {
  if (!existsSync(folder)) return;
  const found = parts.map((name) => join(folder, name)).filter((path) => existsSync(path));
  for (const path of found) await tools.run('btrfs', ['subvolume', 'delete', '--commit-after', path]);
  for (const file of [aboutFile, lookedFile, tookFile])
    for (const name of [file, `${file}.new`]) rmSync(join(folder, name), { force: true });
  rmdirSync(folder);
}

/** What was begun and not ended by an agent that was killed. */
export async function dropHalves(tree: string, tools: SystemTools): Promise<void> {
  for (const folder of [snapshotFolder(tree), restoringFolder(tree), thenFolder(tree)]) await dropFolder(folder, tools);
  await dropRounds(broughtOf(tree), tools);
}

const isPinned = (tree: string, epoch: number): boolean => readAbout(replacedFolder(tree, epoch))?.isPinned === true;

/** Of what restores have replaced, the oldest first: all but the newest `kept`, the one that is wanted, and what is of before an upgrade. */
export function spareReplaced(tree: string, kept: number, wanted = ''): number[] {
  const ofRestores = replacedEpochs(tree).filter((epoch) => !isPinned(tree, epoch));
  return ofRestores.slice(0, -kept).filter((epoch) => `replaced-${epoch}` !== wanted);
}

/** GitLab serves with what a restore brought: what that replaced stays, and what the one before did. */
export async function dropReplaced(tree: string, tools: SystemTools): Promise<void> {
  for (const epoch of spareReplaced(tree, 2)) await dropFolder(replacedFolder(tree, epoch), tools);
}

/** An upgrade stands: of what was kept before upgrades that of epoch `kept` stays. */
export async function dropPinned(tree: string, kept: number, tools: SystemTools): Promise<void> {
  for (const epoch of replacedEpochs(tree))
    if (epoch !== kept && isPinned(tree, epoch)) await dropFolder(replacedFolder(tree, epoch), tools);
}

/** With the data themselves all that this room made beside them goes. */
export async function dropAll(tree: string, tools: SystemTools): Promise<void> {
  if (!existsSync(tree)) return;
  const names = readdirSync(tree).filter((name) =>
    /^(vault|restoring|then|upgrading|rehearsing|replaced-[1-9]\d{0,15})$/.test(name),
  );
  for (const name of names) await dropFolder(join(tree, name), tools);
}
