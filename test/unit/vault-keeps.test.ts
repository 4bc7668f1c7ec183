import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { DataPlace } from '../../node/hosting/data-place.ts';
import { type SystemTools, systemTools } from '../../node/hosting/system-tools.ts';
import { swapData } from '../../node/hosting/vault/data-swap.ts';
import { GitlabVault } from '../../node/hosting/vault/gitlab-vault.ts';
import type { Restic } from '../../node/hosting/vault/restic.ts';
import { restoreBeside } from '../../node/hosting/vault/restore-data.ts';
import { aboutFile, dropReplaced } from '../../node/hosting/vault/vault-tree.ts';
import { AutogitError } from '../../protocol/errors.ts';

/** What of GitLab's data lies beside it, and when that goes. */
let tree: string;
const about = { form: 1 as const, mesh: 'mesh', meshName: 'home', data: 'data-three', epoch: 3, at: 1 };
const of = (more: object = {}) => ({ ...about, version: '19.3.0', image: 'i', ...more });
/** Folders in place of subvolumes. */
const tools: SystemTools = {
  ...systemTools,
  run: async (file, args) => {
    if (file === 'btrfs' && args[1] === 'delete') rmSync(args.at(-1) as string, { recursive: true });
    return '';
  },
};
const data = (folder: string, note?: object): void => {
  for (const part of ['live/data', 'bulk']) mkdirSync(join(tree, folder, part), { recursive: true });
  if (note) writeFileSync(join(tree, folder, aboutFile), JSON.stringify(note));
};
beforeEach(() => {
  tree = mkdtempSync(join(tmpdir(), 'autogit-keeps-'));
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(tree, { recursive: true, force: true });
});

describe('what is kept beside GitLab', () => {
  it.each([
    ['stays while a restore that an agent of before began takes it from there', true],
    ['goes where nothing is under way', false],
  ])('%s', async (_what, isUnderWay) => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    mkdirSync(join(tree, 'restoring'));
    const hosting = { data: 'data-three', place: { kind: 'subvolume', path: tree } };
    const kept = { hosting, life: { hasWorked: true }, mayRun: true, version: '19.3.0' };
    const replacing = { isUnderWay: () => isUnderWay, current: () => null, outcome: null };
    const nothing = () => undefined;
    const vault = new GitlabVault({
      ...{ home: tree, clock: { bootMs: () => 0, wallMs: () => 0 }, log: { info: nothing, warn: nothing } },
      ...{ keeper: { kept, replacing }, ledger: () => null, holders: () => [], api: () => null },
    } as never);
    vault.start();
    vi.advanceTimersByTime(10_000);
    await vault.stop();
    expect(existsSync(join(tree, 'restoring'))).toBe(isUnderWay);
  });

  const replaced = (): string[] =>
    readdirSync(tree)
      .filter((name) => name.startsWith('replaced-'))
      .sort();
  const four = (): void => {
    data('replaced-1', of({ epoch: 1 }));
    data('replaced-2', of({ epoch: 2 }));
    data('replaced-3', of());
    data('replaced-4', of({ epoch: 4, isPinned: true }));
  };

  it('of restores the newest two stay, whatever was kept before an upgrade since', async () => {
    four();
    await dropReplaced(tree, tools);
    expect(replaced()).toEqual(['replaced-2', 'replaced-3', 'replaced-4']);
  });

  /** A restore of a backup where there is room for it once so many of those that were replaced have gone. */
  const restore = (more: { roomAfter?: number; mayLetGo?: boolean; fails?: string } = {}) => {
    four();
    const { roomAfter = 0, mayLetGo = true, fails = '' } = more;
    const restic = {
      dump: async () => JSON.stringify(of()),
      sizeOf: async () => 7,
      restore: async (_id: string, into: string) => {
        if (fails !== '') throw new AutogitError('backup', fails);
        for (const path of ['live/config', 'live/data/postgresql/data'])
          mkdirSync(join(into, path), { recursive: true });
        writeFileSync(join(into, 'live/config/gitlab-secrets.json'), '{}');
        writeFileSync(join(into, 'live/data/postgresql/data/PG_VERSION'), '15');
      },
    } as unknown as Restic;
    const place = {
      ...{ kind: 'subvolume', path: tree },
      makeRoom: async () => {
        if (replaced().length > 4 - roomAfter) throw new AutogitError('data-place', 'there is no room');
      },
    } as unknown as DataPlace;
    const { signal } = new AbortController();
    const what = { place, restic, backup: 'abcdef01', tools, signal, say: () => undefined, now: of() };
    return restoreBeside({ ...what, url: 'http://gitlab.lan:8080', mayLetGo });
  };

  it('a restore that fails lets nothing go that restores of before have left', async () => {
    await expect(restore({ fails: 'restic restore failed' })).rejects.toThrow(/^restic restore failed$/);
    expect(replaced()).toHaveLength(4);
  });

  it('where there is no room for a backup else the oldest go, as many as it takes, and are named', async () => {
    expect((await restore({ roomAfter: 1 })).notes).toEqual(['replaced-1 had to go for its room']);
    expect(replaced()).toEqual(['replaced-2', 'replaced-3', 'replaced-4']);
  });

  it('where that does not help, or may not be, it is said what went', async () => {
    await expect(restore({ roomAfter: 3 })).rejects.toThrow(
      /^there is no room; replaced-1, replaced-2 had to go for its room$/,
    );
    expect(replaced()).toEqual(['replaced-3', 'replaced-4']);
    await expect(restore({ roomAfter: 1, mayLetGo: false })).rejects.toThrow(/^there is no room$/);
    expect(replaced()).toHaveLength(4);
  });

  it('is not said to have been put in place when it is not there any more', async () => {
    data('.');
    mkdirSync(join(tree, 'restoring'));
    const swap = {
      place: { kind: 'subvolume' as const, path: tree },
      owner: of(),
      next: 5,
      ledger: null,
      source: join(tree, 'restoring'),
    };
    await expect(swapData({ ...swap, about: of() }, tools)).rejects.toThrow('restoring are not there any more');
    expect(existsSync(join(tree, 'live/data'))).toBe(true);
  });
});
