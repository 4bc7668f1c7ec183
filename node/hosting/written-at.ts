import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** What GitLab writes to whenever it changes anything: the database's log, and Redis'. */
const folders = ['postgresql/data/pg_wal', 'redis', 'redis/appendonlydir'];
/** The database by itself, each few minutes. */
const files = ['postgresql/data/global/pg_control', 'postgresql/data'];

/** When GitLab last wrote to data on which it runs no more, by the clock of the machine on which it ran; 0 where nothing tells. */
export function writtenAt(live: string): number {
  const data = join(live, 'data');
  const inside = folders.flatMap((folder) => namesIn(join(data, folder)).map((name) => join(data, folder, name)));
  const all = [...files.map((file) => join(data, file)), ...inside];
  // Of a link nothing but itself is looked at: whoever is root in the container made it.
  const times = all.map((file) => lstatSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0);
  return Math.round(Math.max(0, ...times));
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // Of another form, or none.
  }
}
