import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { isFencedName } from '../../../protocol/fenced.ts';
import { compareRounds } from '../../../protocol/round-name.ts';
import { bulkBeside } from '../replica/bulk-beside.ts';
import { writtenAt } from '../written-at.ts';
import { sideIn } from './compare-data.ts';
import { keptRounds, roundFolder, roundOf } from './kept-rounds.ts';
import { parts, readAbout } from './vault-tree.ts';

/** GitLab's data of then, as they lie on this machine. */
interface ThenSide {
  live: string;
  /** Null where nothing of it goes with them. */
  bulk: string | null;
  /** 0 where that is not known. */
  at: number;
}

/**
 * A round of this machine, what a restore has replaced, or what was fenced; null for what does not lie here. Where it can be thinned
 * meanwhile whoever reads it sees it end.
 */
export function thenSide(tree: string, id: string): ThenSide | null {
  if (isFencedName(id) || /^replaced-[1-9]\d{0,15}$/.test(id)) {
    const folder = join(tree, id);
    if (!parts.every((name) => existsSync(join(folder, name)))) return null;
    const side = sideIn(folder);
    return { ...side, at: isFencedName(id) ? writtenAt(side.live) : (readAbout(folder)?.at ?? 0) };
  }
  const name = roundOf(id);
  const hot = name && keptRounds(tree, 'hot').find((one) => compareRounds(one.name, name) === 0);
  if (!hot) return null;
  const bulk = bulkBeside(hot, keptRounds(tree, 'bulk'));
  return {
    live: roundFolder(tree, 'hot', hot.name),
    bulk: bulk && roundFolder(tree, 'bulk', bulk.name),
    at: hot.wallMs,
  };
}
