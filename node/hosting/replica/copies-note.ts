import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { sentenceOf } from '../../../protocol/errors.ts';
import { makeFolder } from '../../store/home.ts';
import { placeProblem } from '../place-problem.ts';
import { replaceFileNow } from '../replace-file-now.ts';

/**
 * HOME/gitlab-copies/DATA.place. A machine that ran GitLab keeps copies of it where its data lay: nobody else knows of that folder
 * once the ledger names another host. Without a note they lie in HOME/gitlab-copies/DATA.
 */
const Note = z.looseObject({
  path: z.string().min(1).max(1024).startsWith('/'),
  /** What was served here, and is kept out of the way (../move/living-data.ts): folders of that place. */
  fenced: z.array(z.string().max(64)).max(1000).default([]),
  /** An epoch that was given up here before anybody was let in: its data are nobody's. */
  unserved: z.int().positive().nullable().default(null),
  /** Copies alone lie there: the data with which it ran here have gone, or are among the fenced. */
  isGiven: z.boolean().default(false),
});
type Note = z.infer<typeof Note>;

const folderOfAll = (home: string): string => join(home, 'gitlab-copies');
/** Of the copies of that GitLab, in the home of an agent that never ran it. */
export const copiesFolder = (home: string, data: string): string => join(folderOfAll(home), data);
const noteFile = (home: string, data: string): string => `${copiesFolder(home, data)}.place`;

/** Throws `data-place` where it makes no sense: another folder in its place would be an empty one. */
function readNote(home: string, data: string): Note | null {
  const file = noteFile(home, data);
  if (!existsSync(file)) return null;
  try {
    return Note.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (cause) {
    throw placeProblem(
      `${file} is damaged, so where this machine has its copies of GitLab is not known: ${sentenceOf(cause)}`,
      `write the folder into it, as {"path":"/srv/gitlab"}, or delete it where they lie in ${copiesFolder(home, data)}`,
      cause,
    );
  }
}

/** Where this machine has its copies of that GitLab, or would have them. `isNoted`: it ran it there once, so that place is there. */
export function copiesAt(home: string, data: string): { path: string; isNoted: boolean } {
  const note = readNote(home, data);
  return { path: note?.path ?? copiesFolder(home, data), isNoted: note !== null };
}

/** The data with which it ran on this machine are in that place, and no copies are held there. */
export const isStillHosts = (home: string, data: string): boolean => readNote(home, data)?.isGiven === false;

/** GitLab is given up here, and its data stay there. On the disk when it returns. */
export function noteCopiesAt(home: string, data: string, path: string, unserved: number | null): void {
  let known: Note | null = null;
  try {
    known = readNote(home, data);
  } catch {
    // A damaged one is written over: this is what was to stand in it.
  }
  makeFolder(folderOfAll(home), 0o700);
  write(home, data, { fenced: [], ...known, path, unserved, isGiven: false });
}

/** Its place is one of copies now, with these beside them. */
export function noteFenced(home: string, data: string, fenced: readonly string[]): void {
  const note = readNote(home, data);
  const isSaid = JSON.stringify(note?.fenced ?? []) === JSON.stringify(fenced);
  // Of a place in which it never ran there is nothing to note.
  if (isSaid && note?.isGiven !== false) return;
  const path = note?.path ?? copiesFolder(home, data);
  write(home, data, { path, unserved: note?.unserved ?? null, fenced: [...fenced], isGiven: true });
}

const write = (home: string, data: string, note: Note): void =>
  replaceFileNow(noteFile(home, data), JSON.stringify(note));

/** Its place is gone. */
export const forgetCopiesAt = (home: string, data: string): void => rmSync(noteFile(home, data), { force: true });

export const fencedAt = (home: string, data: string): readonly string[] => readNote(home, data)?.fenced ?? [];

/** It ran here, and what it took last was not looked at yet, or is kept: its place is to be open whether or not copies come there. */
export function wasServedHere(home: string, data: string): boolean {
  try {
    return isStillHosts(home, data) || fencedAt(home, data).length > 0;
  } catch {
    return false; // Damaged: whoever wants to hold copies there is told.
  }
}

export const unservedAt = (home: string, data: string): number | null => readNote(home, data)?.unserved ?? null;

/** Of which GitLabs copies lie on this machine, or did. */
export function copiesHere(home: string): string[] {
  try {
    const entries = readdirSync(folderOfAll(home), { withFileTypes: true });
    const names = entries.flatMap((entry) => {
      if (entry.isDirectory()) return [entry.name];
      return entry.name.endsWith('.place') ? [basename(entry.name, '.place')] : [];
    });
    return [...new Set(names)];
  } catch {
    return []; // None was ever held here.
  }
}
