import { join } from 'node:path';
import type { Ledger } from '../../../protocol/ledger.ts';
import type { StandbyRules } from '../../../scheduler/hosting/copies/standby-rules.ts';
import type { Hosting } from '../../../scheduler/hosting/hosted-edits.ts';
import type { Log } from '../../log.ts';
import type { DataPlace } from '../data-place.ts';
import { fencedNames, giveUpLiving } from '../move/living-data.ts';
import { copiesOf, treeOf } from '../place-tree.ts';
import { BtrfsReplica } from './btrfs-replica.ts';
import { fencedAt, noteFenced, unservedAt } from './copies-note.ts';
import { PromiseFile, rulesOf } from './promise-file.ts';
import type { RoundPart } from './replica-ports.ts';
import { replicaTools } from './replica-tools.ts';
import { RoundDisk } from './round-disk.ts';

/** What a machine holds of a GitLab that another one runs. */
export interface OpenCopies {
  hosting: Hosting;
  place: DataPlace;
  disk: RoundDisk;
  parts: Record<RoundPart, BtrfsReplica>;
  rules: Record<RoundPart, StandbyRules>;
  promised: PromiseFile;
}

interface Here {
  home: string;
  /** The ledger of now. */
  ledger: Ledger | null;
  log: Pick<Log, 'warn'>;
}

const meshOf = (ledger: Ledger | null): string => ledger?.mesh.id ?? '';

/** `place` is open, and let go where this throws. */
export async function openCopies(hosting: Hosting, place: DataPlace, here: Here): Promise<OpenCopies> {
  const tree = treeOf(place);
  const disk = new RoundDisk(tree, replicaTools);
  const shared = { owner: { mesh: meshOf(here.ledger), data: hosting.data }, disk, tools: replicaTools };
  const parts = { hot: new BtrfsReplica('hot', tree, shared), bulk: new BtrfsReplica('bulk', tree, shared) };
  try {
    await noLiving(hosting, place, here);
    for (const part of Object.values(parts)) await part.open();
  } catch (error) {
    await place.letGo();
    throw error;
  }
  const promised = new PromiseFile(`${copiesOf(tree)}/promised.json`, replicaTools);
  return { hosting, place, disk, parts, rules: rulesOf(promised), promised };
}

/** This machine may have run it until now: what it served is no round, and is served no more (SAFETY H10). */
async function noLiving(hosting: Hosting, place: DataPlace, { home, ledger, log }: Here): Promise<void> {
  const { data, epoch, copies } = hosting;
  const owner = { mesh: meshOf(ledger), data, epoch };
  const unserved = unservedAt(home, data);
  await giveUpLiving({ place, owner, ledger, bases: copies?.bases ?? {}, unserved }, replicaTools);
  const tree = treeOf(place);
  const known = fencedAt(home, data);
  const names = fencedNames(tree);
  for (const name of names.filter((one) => !known.includes(one)))
    log.warn(`what this machine served of GitLab and the mesh goes on without is kept in ${join(tree, name)}`);
  noteFenced(home, data, names);
}
