import { lstat, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AutogitError } from '../../../protocol/errors.ts';
import { shown } from '../../foreign-text.ts';
import { askDisk } from '../../machine/asked-disk.ts';
import { makeFolder } from '../../store/home.ts';
import type { ServiceHost } from '../service-host.ts';
import { systemTools } from '../system-tools.ts';
import type { BackupSource, Say } from '../vault/backup-run.ts';
import { type About, aboutFile } from '../vault/vault-tree.ts';
import { endOwnRun, runToEnd } from './own-run.ts';
import { bytesAtMost, bytesOf, roomAt } from './protect-facts.ts';
import { ownStrategy } from './protect-way.ts';
import { withMounts } from './snapshot-source.ts';

interface Own {
  host: Pick<ServiceHost, 'exec'>;
  /** Of the container. */
  id: string;
  config: string;
  /** What GitLab's own backup reads. */
  folders: readonly string[];
  /** Where GitLab's own backups lie, here. */
  backups: string;
  tree: string;
  say: Say;
  signal: AbortSignal;
}

/** 100 GB of repositories take two hours (contract §7). */
const createMs = 12 * 3_600_000;
/** Millions of files on a slow disk. */
const countMs = 1_200_000;

/** Nobody else's file has this name, and GitLab prunes none while one is given. */
export const ownName = (data: string): string => `autogit_${data}`;
export const ownFile = (data: string): string => `${ownName(data)}_gitlab_backup.tar`;

/** Never through a link. */
export const dropFile = (file: string): Promise<void> => askDisk(file, () => rm(file, { force: true }));

/** GitLab's own backup of now, made in its container, and its configuration, which is in none of those. Gone again afterwards. */
export function ownSource({ host, id, config, folders, backups, tree, say, signal }: Own, about: About): BackupSource {
  const file = join(backups, ownFile(about.data));
  const drop = async (): Promise<void> => dropFile(file);
  const end = (): Promise<void> => endOwnRun(host, id, ownName(about.data));
  return {
    async take() {
      // Of an agent that was killed: two at once would write one file.
      await end();
      await drop();
      say('counts what there is');
      // Never for less than there is: a disk that its own backup fills is the one on which that GitLab lives.
      const bytes = (await bytesOf(folders, countMs)) ?? (await bytesAtMost(folders));
      const strategy = ownStrategy(bytes, (await roomAt(backups)).freeBytes);
      if ('refused' in strategy)
        throw new AutogitError('backup', strategy.refused, { hint: `make room at ${backups}` });
      say('GitLab makes its own backup; that takes minutes, or hours where there is much');
      signal.throwIfAborted();
      const words = [`BACKUP=${ownName(about.data)}`, ...strategy.words, 'GZIP_RSYNCABLE=yes', 'CRON=1'];
      const { code, out } = await runToEnd(
        host.exec(id, ['gitlab-backup', 'create', ...words], { timeoutMs: createMs }),
        end,
        signal,
      );
      // By itself: whoever is root in the container may have put a link to another file of this machine there.
      const made = await askDisk(file, () => lstat(file).catch(() => null));
      const size = made?.isFile() ? made.size : 0;
      if (code !== 0 || size === 0)
        throw new AutogitError(
          'backup',
          `gitlab-backup in its container ${code === 0 ? 'wrote no file' : `ended with ${code}`}: ${lastLine(out)}`,
          {
            hint: `see what it says: docker exec -it ${id.slice(0, 12)} gitlab-backup create`,
          },
        );
      for (const name of ['config', 'backup']) makeFolder(join(tree, name), 0o700);
      // Its file alone: what else lies in that folder is the owner's.
      await systemTools.write(join(tree, 'backup', ownFile(about.data)), '');
      await systemTools.write(join(tree, aboutFile), JSON.stringify(about));
      const pairs: [string, string][] = [
        [config, join(tree, 'config')],
        [file, join(tree, 'backup', ownFile(about.data))],
      ];
      return { folder: tree, around: withMounts(pairs), paths: ['config', 'backup', aboutFile] };
    },
    drop,
  };
}

const lastLine = (out: string): string => shown(out.trim().split('\n').at(-1) ?? '').slice(0, 300) || 'it said nothing';
