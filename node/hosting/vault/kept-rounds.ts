import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { compareRounds, type RoundName, readRoundName, roundText } from '../../../protocol/round-name.ts';
import { copiesOf } from '../place-tree.ts';
import type { TimedRound } from '../replica/bulk-beside.ts';
import type { RoundPart } from '../replica/replica-ports.ts';

const Marker = z.looseObject({ wallMs: z.number().nonnegative() });

/** How a round is named to people. */
export const roundId = (name: RoundName): string => `round-${roundText(name)}`;

export const roundOf = (id: string): RoundName | null => readRoundName(/^round-(.+)$/.exec(id)?.[1] ?? '');

export const roundFolder = (tree: string, part: RoundPart, name: RoundName): string =>
  join(copiesOf(tree), part, 'rounds', roundText(name), part);

/** Those that are marked, so whole. Read anew each time, also where nobody holds copies any more: what was kept until then lies there still. Oldest first. */
export function keptRounds(tree: string, part: RoundPart): TimedRound[] {
  const folder = join(copiesOf(tree), part, 'markers');
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .flatMap((file): TimedRound | [] => {
      const name = readRoundName(file.replace(/\.json$/, ''));
      if (name === null || !existsSync(roundFolder(tree, part, name))) return [];
      try {
        return { name, wallMs: Marker.parse(JSON.parse(readFileSync(join(folder, file), 'utf8'))).wallMs };
      } catch {
        return []; // Half of a marker, or thinned at this moment.
      }
    })
    .sort((a, b) => compareRounds(a.name, b.name));
}

/** GitLab's own note of which version has last been set up with these data; null where there is none, or it makes no sense. */
export function versionIn(live: string): string | null {
  const file = join(live, 'data', 'gitlab-rails', 'VERSION');
  try {
    // Whoever is root in GitLab's container writes there: a link leads anywhere.
    if (!lstatSync(file).isFile()) return null;
    return /^\d{1,4}\.\d{1,4}\.\d{1,4}[\w.+-]{0,40}$/.exec(readFileSync(file, 'utf8').trim())?.[0] ?? null;
  } catch {
    return null;
  }
}
