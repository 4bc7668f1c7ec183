import { appendFileSync, existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { usedBy } from '../disk-use.ts';
import { isBuildsPlace, removeKeptBuilds } from '../executors/process-builds.ts';
import { endAll } from '../executors/process-ending.ts';
import { userWorkDir } from '../executors/process-executor.ts';
import { buildsOf, marksOf, readRunFile } from '../executors/run-file.ts';
import { membersOf } from '../executors/run-members.ts';
import { removeTree } from '../executors/tree-removal.ts';
import { isFull } from './disk-watch.ts';
import { diskAt, freeReserve } from './home-disk.ts';

interface Left {
  folder: string;
  run: string;
  cgroup: string | null;
  isAlive: boolean;
  bytes: number;
}

/**
 * A start on a full disk: the store that says which runs there are cannot even be opened. So room is made first, and no more
 * than is needed: the reserve; then the trees of runs of which nothing lives; then those of the others, the largest first,
 * which are ended and fail with the reason. Records and traces stay: each run is told of as usual.
 */
export async function makeRoomToStart(home: string, say: (sentence: string) => void): Promise<void> {
  if (!isFull(diskAt(home))) return;
  if (freeReserve(home))
    say('the disk of this machine is full: the reserve is given free, so that the agent can start');
  if (!isFull(diskAt(home))) return;
  const works = [join(home, 'work'), userWorkDir(home)];
  for (const work of works) await removeKeptBuilds(work);
  if (!isFull(diskAt(home)))
    return say('the disk of this machine is full: the trees that were kept for later jobs are removed');
  const left = await Promise.all(works.flatMap(foldersIn).map((folder) => leftOf(folder, home)));
  const order = left.sort((a, b) => Number(a.isAlive) - Number(b.isAlive) || b.bytes - a.bytes);
  for (const one of order) {
    if (!isFull(diskAt(home))) return;
    if (one.bytes === 0) continue;
    say(
      `the disk of this machine is full: the files of run ${one.run}, ${Math.round(one.bytes / 2 ** 20)} MiB, are removed`,
    );
    await removeFiles(one);
  }
}

const foldersIn = (folder: string): string[] =>
  existsSync(folder)
    ? readdirSync(folder)
        .filter((name) => !isBuildsPlace(name))
        .map((name) => join(folder, name))
    : [];

async function leftOf(folder: string, home: string): Promise<Left> {
  const file = readRunFile(folder);
  const run = file?.run ?? '';
  const cgroup = file?.cgroup ?? null;
  const isAlive = file !== null && membersOf(marksOf(folder, file), cgroup).length > 0;
  const both = new Set([folder, ...(file?.builds ? [file.builds.folder] : [])]);
  const bytes = await Promise.all([...both].map((path) => usedBy(path, statSync(home).dev)));
  return { folder, run, cgroup, isAlive, bytes: bytes.reduce<number>((sum, one) => sum + (one ?? 0), 0) };
}

/** The job's own files; the agent's, by which the run is found again, stay. */
async function removeFiles({ folder, cgroup, isAlive }: Left): Promise<void> {
  if (isAlive) await endAll(marksOf(folder, readRunFile(folder)), cgroup, []);
  await removeTree(buildsOf(folder, readRunFile(folder)));
  await removeTree(join(folder, 'home'));
  if (!isAlive) return;
  const because = 'the disk of this machine was full when its agent started: the job was ended, and its files are gone';
  for (const name of readdirSync(folder).filter((one) => /^step-\d+\.status$/.test(one)))
    appendFileSync(join(folder, name), `killed ${JSON.stringify(because)}\n`);
}
