import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ownSource } from '../../node/hosting/protect/own-source.ts';
import { bytesAtMost, bytesOf, foldersToRead, protectFacts } from '../../node/hosting/protect/protect-facts.ts';
import { containerOf, dataOf } from '../../node/hosting/protect/protected-container.ts';
import { dropSnapshot, isPlainIn } from '../../node/hosting/protect/snapshot-source.ts';
import type { OmnibusContainer } from '../../node/machine/omnibus-containers.ts';

const MiB = 1 << 20;
let top = '';
beforeEach(() => {
  top = realpathSync(mkdtempSync(join(tmpdir(), 'autogit-protect-facts-')));
  for (const name of ['data/git-data', 'data/backups', 'config', 'nas/repositories', 'elsewhere'])
    mkdirSync(join(top, name), { recursive: true });
});
afterEach(() => rmSync(top, { recursive: true }));

const at = (name: string): string => join(top, name);
const container = (over: Partial<OmnibusContainer> = {}): OmnibusContainer => ({
  ...{ id: 'a'.repeat(64), name: 'gitlab', image: 'gitlab/gitlab-ce:17.5.1-ce.0', isRunning: true, status: 'running' },
  mounts: [
    { inside: '/var/opt/gitlab', outside: at('data') },
    { inside: '/etc/gitlab', outside: at('config') },
  ],
  backupPath: '/var/opt/gitlab/backups',
  ...{ hasObjectStorage: false, hasOtherDatabase: false, dataElsewhere: [] },
  ...over,
});
const factsOf = (one: OmnibusContainer) => protectFacts(one, { home: at('home'), counts: true });

it('what its own backup needs is counted where it lies: also what is mounted in the data, or kept beside them', async () => {
  writeFileSync(at('data/backups/mine.tar'), Buffer.alloc(8 * MiB, 1));
  writeFileSync(at('data/a'), Buffer.alloc(MiB, 1));
  writeFileSync(at('nas/repositories/b'), Buffer.alloc(2 * MiB, 1));
  writeFileSync(at('elsewhere/c'), Buffer.alloc(4 * MiB, 1));
  const mounts = [
    ...container().mounts,
    { inside: '/var/opt/gitlab/git-data', outside: at('nas') },
    { inside: '/mnt/more', outside: at('elsewhere') },
  ];
  const one = container({ mounts, dataElsewhere: ['/mnt/more'] });
  expect(await foldersToRead(one, at('data'))).toEqual([at('data'), at('nas'), at('elsewhere')]);
  const { dataBytes } = await factsOf(one);
  expect([dataBytes! >= 7 * MiB, dataBytes! < 8 * MiB]).toEqual([true, true]);
  // Where counting takes too long it is taken for all that is used there, not for nothing.
  expect(await bytesOf([at('data')], 0)).toBe(null);
  expect(await bytesAtMost([at('data'), at('nas')])).toBeGreaterThanOrEqual(7 * MiB);
});

it('is looked at behind its owner’s links, and found again by the folder that its engine names; links of its container lead nowhere', async () => {
  symlinkSync(at('data'), at('link'));
  const mounts = [
    { inside: '/var/opt/gitlab', outside: at('link') },
    { inside: '/etc/gitlab', outside: at('config') },
  ];
  const one = container({ mounts });
  expect(await factsOf(one)).toMatchObject({ data: at('data'), backups: at('data/backups') });
  expect(containerOf({ container: 'gitlab', folder: dataOf(one)! }, [one])).toEqual({ container: one });
  rmSync(at('data/backups'), { recursive: true });
  symlinkSync('/etc', at('data/backups'));
  expect(await factsOf(one)).toMatchObject({ data: at('data'), backups: null });
});

it('a link that root in the container made is followed by nobody: neither into the backup nor when a snapshot is deleted', async () => {
  mkdirSync(at('data/gitlab-rails'));
  symlinkSync('/etc', at('data/gitlab-rails/shared'));
  symlinkSync(at('data'), at('whole'));
  mkdirSync(at('data/plain/folder'), { recursive: true });
  expect(isPlainIn(top, at('data/gitlab-rails/shared'))).toBe(false);
  expect(isPlainIn(top, at('whole/plain/folder'))).toBe(false);
  expect(isPlainIn(top, at('data/plain/folder'))).toBe(true);
  await expect(dropSnapshot(at('whole'))).rejects.toThrow(/is no snapshot of the mesh's/);
  writeFileSync(at('secret'), 'of the machine');
  const made = ownSource(
    {
      ...{ id: 'c', config: at('config'), folders: [at('data')], backups: at('data/backups'), tree: at('tree') },
      ...{ say: () => undefined, signal: new AbortController().signal },
      host: {
        exec: async (_id, [program]) => {
          if (program !== 'gitlab-backup') return { code: 0, out: '' };
          symlinkSync(at('secret'), at('data/backups/autogit_d_gitlab_backup.tar'));
          return { code: 0, out: '' };
        },
      },
    },
    { form: 1, mesh: 'm', meshName: 'm', data: 'd', epoch: 1, version: '17.5.1', image: 'i', at: 1 },
  );
  await expect(made.take()).rejects.toThrow(/wrote no file/);
});
