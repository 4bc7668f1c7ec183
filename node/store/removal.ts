import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { shown } from '../foreign-text.ts';
import { places } from './home.ts';

/** That the mesh has removed this machine: who did it (`root on kang`; null: an older version did not say), when. */
export const Removal = z.object({
  mesh: z.string().max(256),
  at: z.number().nonnegative(),
  by: z.string().max(1000).nullable(),
});
export type Removal = z.infer<typeof Removal>;

const file = (home: string): string => join(home, 'removed.json');

/**
 * Kept beside the store until the next `join`, for `status` and for the clean-up: a machine that was removed keeps
 * nothing of the mesh but this. Order: the file, then the runs end, then the store goes; `keepNothing` ends what a crash
 * has cut short.
 */
export function writeRemoval(home: string, removal: Removal): void {
  writeFileSync(file(home), JSON.stringify(removal), { mode: 0o600, flush: true });
}

/** Null when this machine was not removed, or has joined since. */
export function readRemoval(home: string): Removal | null {
  try {
    const parsed = Removal.safeParse(JSON.parse(readFileSync(file(home), 'utf8')));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}

/**
 * Membership, key, secrets, sources, caches and folders of jobs, what happened in the mesh, whom the page lets in, and the tokens of a
 * fall-back; the identity and the logs stay. A session of before is none in the mesh that lets this machine in next.
 */
export function keepNothing(home: string): void {
  const { store, mirrors, caches, work, history, page, fallback } = places(home);
  // Those beside the store are of a switch to another mesh that was cut off.
  const stores = [store, `${store}.next`, `${store}.left`];
  for (const path of [...stores, mirrors, caches, work, history, page, fallback, join(home, 'runs')])
    rmSync(path, { recursive: true, force: true });
}

/** A `join` after a removal begins anew; what is returned is what there was to say of it. */
export function beginAnew(home: string): Removal | null {
  if (!existsSync(file(home))) return null;
  const removal = readRemoval(home);
  keepNothing(home);
  rmSync(file(home), { force: true });
  return removal;
}

export function removedSentence({ mesh, at, by }: Removal): string {
  const day = new Date(at);
  const two = (number: number): string => String(number).padStart(2, '0');
  const date = `${day.getFullYear()}-${two(day.getMonth() + 1)}-${two(day.getDate())}`;
  const when = at > 0 ? ` on ${date} at ${two(day.getHours())}:${two(day.getMinutes())}` : '';
  return `this machine was removed from mesh ${shown(mesh)}${by === null ? '' : ` by ${shown(by)}`}${when}; it keeps nothing of it`;
}
