import { chmodSync, existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { newestOf, type RoundName, readRoundName, roundText } from '../../../protocol/round-name.ts';
import { makeFolder } from '../../store/home.ts';
import { asAfterPowerCut } from '../after-power-cut.ts';
import { placeProblem } from '../place-problem.ts';
import { readClaim, writeClaim, writeMarker } from '../place-records.ts';
import { broughtOf, copiesOf, subvolumes, treeOf } from '../place-tree.ts';
import { dropRounds } from '../replica/btrfs-replica.ts';
import { bulkBeside } from '../replica/bulk-beside.ts';
import { readSmallFile } from '../small-file.ts';
import { replaceFile, type SystemTools, systemTools } from '../system-tools.ts';
import { keptRounds, roundFolder } from '../vault/kept-rounds.ts';
import { dropFolder, restoringFolder } from '../vault/vault-tree.ts';
import { type LeftPlace, withPlace } from './left-place.ts';

/**
 * The place as this mesh's, as an uninstalled GitLab leaves one: a deployment in a later epoch takes it up. Each step may be done
 * again by an agent after one that was killed, and until the last a look finds what lies there as it was.
 */
export async function takePlace(
  left: LeftPlace,
  { mesh, era }: { mesh: string; era: number },
  tools: SystemTools = systemTools,
): Promise<void> {
  const { path, epoch, data } = left;
  await withPlace(path, tools, async ({ place, claim }) => {
    if (claim.mesh !== left.mesh || claim.data !== data)
      throw placeProblem(
        `${path} is not what it was when it was looked at`,
        `look again: autogit-node gitlab adopt --data ${path}`,
      );
    const tree = treeOf(place);
    if (place.kind !== 'folder') {
      await dropRounds(broughtOf(tree), tools);
      if (!existsSync(join(tree, 'live'))) await livesOfCopies(tree, place.kind, tools);
      for (const part of ['hot', 'bulk'] as const) await renameEras(join(copiesOf(tree), part), era, tools);
      // What each of the old mesh's standbys started from: none of them is one here.
      rmSync(join(copiesOf(tree), 'pins.json'), { force: true });
    }
    await writeMarker(join(tree, 'live', 'data'), { mesh, data, epoch }, tools);
    await tools.run('sync', ['-f', tree]);
  });
  const claim = readClaim(path);
  if (claim !== null) await writeClaim(path, { ...claim, mesh, role: 'host', version: left.version }, tools);
}

/** Of the newest round, all parts beside it first: `live` is what says that it is done, and gets its name last. */
async function livesOfCopies(tree: string, kind: string, tools: SystemTools): Promise<void> {
  const hot = newestOf(keptRounds(tree, 'hot'));
  const bulk = hot && bulkBeside(hot, keptRounds(tree, 'bulk'));
  if (hot === null || bulk === null) throw placeProblem(`${tree} holds no whole round any more`, 'look again');
  const making = restoringFolder(tree);
  await dropFolder(making, tools);
  makeFolder(making, 0o700);
  await tools.run('btrfs', ['subvolume', 'snapshot', roundFolder(tree, 'hot', hot.name), join(making, 'live')]);
  await tools.run('btrfs', ['subvolume', 'snapshot', roundFolder(tree, 'bulk', bulk.name), join(making, 'bulk')]);
  await asAfterPowerCut(join(making, 'live', 'data'), tools);
  for (const name of ['bulk', 'logs'] as const) {
    const at = join(tree, name);
    if (existsSync(at)) await tools.run('btrfs', ['subvolume', 'delete', '--commit-after', at]);
    if (name === 'logs') await tools.run('btrfs', ['subvolume', 'create', at]);
  }
  await tools.run('sync', ['-f', tree]);
  await tools.rename(join(making, 'bulk'), join(tree, 'bulk'));
  await tools.rename(join(making, 'live'), join(tree, 'live'));
  for (const name of subvolumes) chmodSync(join(tree, name), 0o755);
  await dropFolder(making, tools);
  // As where one is made: a delete of the living data refuses then. Never on a file system of the owner's.
  if (kind === 'image') await tools.run('btrfs', ['subvolume', 'set-default', join(tree, 'live')]);
}

/**
 * A mesh that was recovered by force counts its eras on, a new one from its own: rounds of a later era would stand before every new
 * one. They are called by this mesh's era then; of two that would have one name the later one stays.
 */
async function renameEras(part: string, era: number, tools: SystemTools): Promise<void> {
  const rounds = join(part, 'rounds');
  if (!existsSync(rounds)) return;
  const names = readdirSync(rounds).flatMap((entry) => readRoundName(entry) ?? []);
  const later = names.filter((name) => name.era > era).sort((a, b) => a.era - b.era);
  for (const name of later) {
    const [from, to] = [roundText(name), roundText({ ...name, era })];
    const marker = join(part, 'markers', `${from}.json`);
    if (!existsSync(marker)) continue;
    if (existsSync(join(rounds, to))) await dropOne(part, to, tools);
    const note = JSON.parse(readSmallFile(marker)) as { parent: string | null };
    const parent = note.parent === null ? null : inEra(note.parent, era);
    // The round last: one whose marker has another name is swept, and so nothing is lost but that round.
    await replaceFile(join(part, 'markers', `${to}.json`), JSON.stringify({ ...note, name: to, parent }), tools);
    renameSync(join(rounds, from), join(rounds, to));
    rmSync(marker);
  }
}

const inEra = (text: string, era: number): string => {
  const name: RoundName | null = readRoundName(text);
  return name === null || name.era <= era ? text : roundText({ ...name, era });
};

async function dropOne(part: string, text: string, tools: SystemTools): Promise<void> {
  rmSync(join(part, 'markers', `${text}.json`), { force: true });
  const folder = join(part, 'rounds', text);
  for (const entry of readdirSync(folder))
    await tools.run('btrfs', ['subvolume', 'delete', '--commit-after', join(folder, entry)]);
  rmSync(folder, { recursive: true });
}
