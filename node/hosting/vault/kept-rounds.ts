import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { compareRounds, type RoundName, readRoundName, roundText } from '../../../protocol/round-name.ts';
import { broughtOf, copiesOf } from '../place-tree.ts';
import type { TimedRound } from '../replica/bulk-beside.ts';
import type { RoundPart } from '../replica/replica-ports.ts';
import { readSmallFile } from '../small-file.ts';

const Marker = z.looseObject({ wallMs: z.number().nonnegative(), uuid: z.string().max(64) });

interface KeptRound extends TimedRound {
  uuid: string;
}

/** How a round is named to people. */
export const roundId = (name: RoundName): string => `round-${roundText(name)}`;

export const roundOf = (id: string): RoundName | null => readRoundName(/^round-(.+)$/.exec(id)?.[1] ?? '');

const folderIn = (rounds: string, part: RoundPart, name: RoundName): string =>
  join(rounds, part, 'rounds', roundText(name), part);

/** Of this machine's own, or of what another one gave back. */
export function roundFolder(tree: string, part: RoundPart, name: RoundName): string {
  const own = folderIn(copiesOf(tree), part, name);
  return existsSync(own) ? own : folderIn(broughtOf(tree), part, name);
}

/**
 * Those that are marked, so whole, and what another machine has just given back. Read anew each time, also where nobody holds copies
 * any more: what was kept until then lies there still. Oldest first.
 */
export function keptRounds(tree: string, part: RoundPart): KeptRound[] {
  const own = roundsIn(copiesOf(tree), part);
  const known = new Set(own.map(({ name }) => roundText(name)));
  const brought = roundsIn(broughtOf(tree), part).filter(({ name }) => !known.has(roundText(name)));
  return [...own, ...brought].sort((a, b) => compareRounds(a.name, b.name));
}

function roundsIn(rounds: string, part: RoundPart): KeptRound[] {
  const folder = join(rounds, part, 'markers');
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((file): KeptRound | [] => {
    const name = readRoundName(file.replace(/\.json$/, ''));
    if (name === null || !existsSync(folderIn(rounds, part, name))) return [];
    try {
      const { wallMs, uuid } = Marker.parse(JSON.parse(readSmallFile(join(folder, file))));
      return { name, wallMs, uuid };
    } catch {
      return []; // Half of a marker, or thinned at this moment.
    }
  });
}

/** GitLab's own note of which version has last been set up with these data; null where there is none, or it makes no sense. */
export function versionIn(live: string): string | null {
  try {
    const said = readSmallFile(join(live, 'data', 'gitlab-rails', 'VERSION')).trim();
    return /^\d{1,4}\.\d{1,4}\.\d{1,4}[\w.+-]{0,40}$/.exec(said)?.[0] ?? null;
  } catch {
    return null;
  }
}
