import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { deviceOf, usedBy } from '../disk-use.ts';
import { countedBytes, executorKinds, keptTreesFile, readKeptTrees } from '../executors/kept-trees.ts';
import { showBytes } from '../settings/quantities.ts';
import { places } from '../store/home.ts';
import { type Finding, finding } from './finding.ts';

const measureMs = 20_000;

/** What of projects stays here between their jobs; nothing where there is nothing. */
export async function checkKept(home: string): Promise<Finding[]> {
  const { mirrors } = places(home);
  const count = existsSync(mirrors) ? readdirSync(mirrors).filter((name) => name.endsWith('.git')).length : 0;
  const trees = executorKinds.flatMap((kind) => Object.values(readKeptTrees(join(home, keptTreesFile(kind)))));
  if (count + trees.length === 0) return [];
  const mirrored = await usedBy(mirrors, deviceOf(mirrors) ?? -1, measureMs);
  const kept = trees.reduce((sum, tree) => sum + countedBytes(tree), 0);
  const said = [
    `repositories of jobs: ${count} (${mirrored === null ? 'too many to measure' : showBytes(mirrored)})`,
    ...(trees.length > 0 ? [`trees kept for their next jobs: ${trees.length} (${showBytes(kept)})`] : []),
  ];
  return [finding('kept', 'ok', said.join(', '))];
}
