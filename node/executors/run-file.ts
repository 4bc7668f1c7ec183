import { createHash } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import type { RunMarks } from './run-processes.ts';

/** Whose a run's processes are. */
export interface JobUser {
  uid: number;
  gid: number;
  name: string;
  /** The person's own; null: the run has a fresh one. */
  home: string | null;
  shell: string;
  /** What this user can reach of the agent's PATH. */
  path: string | null;
  /** The uid is this run's alone, and goes with it. */
  isAuto: boolean;
}

const JobUser = z.object({
  uid: z.number().int().nonnegative(),
  gid: z.number().int().nonnegative(),
  name: z.string(),
  home: z.string().nullable(),
  shell: z.string(),
  path: z.string().nullable(),
  isAuto: z.boolean(),
});

/** What a child of the agent needs to be that user; only root can become somebody else. */
export const dropTo = (user: Pick<JobUser, 'uid' | 'gid'> | null): { uid?: number; gid?: number } =>
  user !== null && process.getuid?.() === 0 ? { uid: user.uid, gid: user.gid } : {};

/** `run.json` in the agent's folder of a run: what the next agent must know to go on with it. */
const RunFile = z.object({
  run: z.string(),
  bootId: z.string(),
  /** TMPDIR of the run: short, as paths of Unix sockets end at 107 characters. */
  tmp: z.string(),
  cgroup: z.string().nullable().catch(null).default(null),
  /** Control groups of version 1 that only limit. Absent in runs of an earlier agent. */
  limits: z
    .array(z.string())
    .transform((paths) => paths.slice(0, 3))
    .catch([])
    .default([]),
  /** Null: the agent's own. Absent in runs of an earlier agent: as it is said now, with a fresh HOME. */
  user: JobUser.nullable().optional(),
  /** CI_BUILDS_DIR that several runs have in turn, for as long as this one has it; without it the run has one in its own folder. */
  builds: z
    .object({ key: z.string(), folder: z.string(), project: z.string(), isKept: z.boolean() })
    .nullable()
    .catch(null)
    .optional(),
});
export type RunFile = z.infer<typeof RunFile>;

/** Null where no run was prepared, or its file makes no sense. */
export function readRunFile(folder: string): RunFile | null {
  try {
    const file = RunFile.parse(JSON.parse(readFileSync(join(folder, 'run.json'), 'utf8')));
    // Given back already: what is there, and who works in it, is another run's by now.
    const hasBuilds = file.builds && ownerOfBuilds(dirname(file.builds.folder)) === basename(folder);
    return hasBuilds ? file : { ...file, builds: null };
  } catch {
    return null;
  }
}

export const ownerName = 'run';

/** The run, as its folder is called, that has a builds folder below this place; null: none. */
export function ownerOfBuilds(place: string): string | null {
  try {
    return readFileSync(join(place, ownerName), 'utf8');
  } catch {
    return null;
  }
}

/** Whole, or as it was. */
export function writeRunFile(folder: string, file: RunFile): void {
  const path = join(folder, 'run.json');
  writeFileSync(`${path}.new`, JSON.stringify(file), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

export const tmpOf = (folder: string): string =>
  join(tmpdir(), `autogit-${createHash('sha256').update(folder).digest('hex').slice(0, 12)}`);

export const freshHome = (folder: string): string => join(folder, 'home');
/** CI_BUILDS_DIR of a run. */
export const buildsOf = (folder: string, file: Pick<RunFile, 'builds'> | null = null): string =>
  file?.builds?.folder ?? join(folder, 'builds');

/** `file` is null where the run's file is gone: the folder says nearly as much. */
export function marksOf(folder: string, file: RunFile | null, user: JobUser | null = file?.user ?? null): RunMarks {
  const tmp = file?.tmp ?? tmpOf(folder);
  return {
    entries: [
      `TMPDIR=${tmp}`,
      `HOME=${freshHome(folder)}`,
      `CI_BUILDS_DIR=${buildsOf(folder, file)}`,
      // What an earlier agent began has a mark of its own.
      ...(file === null ? [] : [`AUTOGIT_RUN=${file.run}`]),
    ],
    places: [folder, tmp, ...(file?.builds ? [file.builds.folder] : [])],
    uid: user?.uid ?? process.getuid?.() ?? 0,
    isUidAlone: user?.isAuto ?? false,
  };
}
