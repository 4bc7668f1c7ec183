import { join } from 'node:path';
import { insideOf } from '../mount-table.ts';
import type { ReplicaTools } from './replica-ports.ts';

/**
 * The UUID of each subvolume below that folder that nobody can write to, by its path, from one look at all of them. A look at each is a
 * program each: of the hundreds of rounds that a standby holds that is seconds, for which a push waited where GitLab had just moved.
 * Empty, or with fewer, where it cannot be told: then whoever asks looks at those by themselves.
 */
export async function unwritableBelow(
  folder: string,
  tools: Pick<ReplicaTools, 'run'>,
): Promise<ReadonlyMap<string, string>> {
  const inside = insideOf(folder)?.path;
  if (inside === undefined) return new Map();
  const text = await tools.run('btrfs', ['subvolume', 'list', '-r', '-u', folder]).catch(() => '');
  const found = text.matchAll(/^ID .* uuid (\S+) path (.+)$/gm);
  return new Map(
    Array.from(found, ([, own = '', path = '']): [string, string] => [`/${path}`, own])
      .filter(([path]) => path.startsWith(`${inside}/`))
      .map(([path, own]) => [join(folder, path.slice(inside.length)), own]),
  );
}
