import { expect } from 'vitest';
import type { DataPlace } from '../../node/hosting/data-place.ts';
import { treeOf } from '../../node/hosting/place-tree.ts';
import { BtrfsReplica } from '../../node/hosting/replica/btrfs-replica.ts';
import type { Round } from '../../node/hosting/replica/replica-ports.ts';
import { replicaTools } from '../../node/hosting/replica/replica-tools.ts';
import { RoundDisk } from '../../node/hosting/replica/round-disk.ts';
import type { RoundName } from '../../protocol/round-name.ts';
import { owner } from './vault-rig.ts';

/** Rounds of one machine, of both parts. */
export interface Side {
  tree: string;
  hot: BtrfsReplica;
  bulk: BtrfsReplica;
}

export async function sideOf(place: DataPlace): Promise<Side> {
  const tree = treeOf(place);
  const parts = { owner, disk: new RoundDisk(tree, replicaTools), tools: replicaTools };
  const [hot, bulk] = [new BtrfsReplica('hot', tree, parts), new BtrfsReplica('bulk', tree, parts)];
  for (const part of [hot, bulk]) await part.open();
  return { tree, hot, bulk };
}

export async function taken({ hot, bulk }: Side, name: RoundName): Promise<{ hot: Round; bulk: Round }> {
  return { hot: await hot.snapshot(name, 5), bulk: await bulk.snapshot(name, 5) };
}

/** As the wire does it; of what both have where `parent` says so. */
export async function brought(
  from: Side,
  to: Side,
  rounds: { hot: Round; bulk: Round },
  parent: RoundName | null = null,
): Promise<void> {
  for (const part of ['hot', 'bulk'] as const) {
    const round = rounds[part];
    const basis = from[part].parentsFor(round).find(({ name }) => name.number === parent?.number) ?? null;
    await to[part].receive({ ...round, parent: basis?.name ?? null }, from[part].send(round, basis));
    if (parent !== null) expect(basis?.name).toEqual(parent);
  }
}
