import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { DataPlace } from '../data-place.ts';
import type { SystemTools } from '../system-tools.ts';

/** What a boot writes, whatever it migrates. */
const leastBytes = 1 << 30;

/** So much an upgrade may write beside what is kept: a newer PostgreSQL gets a copy of the whole database. */
export async function roomFor(place: Pick<DataPlace, 'folders'>, tools: SystemTools): Promise<number> {
  const folder = join(place.folders.data, 'postgresql');
  if (!existsSync(folder)) return leastBytes;
  const bytes = Number.parseInt(await tools.run('du', ['-s', '--block-size=1', '--', folder]), 10);
  return leastBytes + (Number.isSafeInteger(bytes) ? bytes : 0);
}
