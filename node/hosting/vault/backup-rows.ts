import type { BackupRow } from '../../../protocol/asks.ts';
import { asSentence } from '../../../protocol/ids.ts';
import type { Snapshot } from './restic.ts';
import { readAbout, replacedEpochs, replacedFolder } from './vault-tree.ts';

const tagOf = ({ tags }: Snapshot, name: string): string | null =>
  tags?.find((tag) => tag.startsWith(`${name}=`))?.slice(name.length + 1) ?? null;

export const rowOf = (one: Snapshot, data: string, target: string): BackupRow => ({
  id: one.id.slice(0, 8),
  at: Math.max(0, Date.parse(one.time) || 0),
  version: tagOf(one, 'version')?.slice(0, 64) ?? null,
  epoch: Number(tagOf(one, 'epoch')) || 0,
  isOwn: tagOf(one, 'data') === data,
  because: asSentence(`a backup in ${target}`),
});

export const replacedRows = (tree: string): BackupRow[] =>
  replacedEpochs(tree).map((epoch) => {
    const about = readAbout(replacedFolder(tree, epoch));
    return {
      id: `replaced-${epoch}`,
      at: about?.at ?? 0,
      version: about?.version ?? null,
      epoch,
      isOwn: true,
      because: 'what a restore has replaced, on its host',
    };
  });
