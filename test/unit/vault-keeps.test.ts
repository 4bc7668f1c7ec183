import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type SystemTools, systemTools } from '../../node/hosting/system-tools.ts';
import { swapData } from '../../node/hosting/vault/data-swap.ts';
import { GitlabVault } from '../../node/hosting/vault/gitlab-vault.ts';
import { aboutFile, dropReplaced } from '../../node/hosting/vault/vault-tree.ts';

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

  it('of restores the newest stays, whatever was kept before an upgrade since', async () => {
    data('replaced-2', of({ epoch: 2 }));
    data('replaced-3', of());
    data('replaced-4', of({ epoch: 4, isPinned: true }));
    await dropReplaced(tree, 'abcdef01', tools);
    expect(readdirSync(tree).sort()).toEqual(['replaced-3', 'replaced-4']);
  });

  it('is not said to have been put in place when it is not there any more', async () => {
    data('.');
    mkdirSync(join(tree, 'restoring'));
    const swap = { place: { kind: 'subvolume' as const, path: tree }, owner: of(), source: join(tree, 'restoring') };
    await expect(swapData({ ...swap, about: of() }, tools)).rejects.toThrow('restoring are not there any more');
    expect(existsSync(join(tree, 'live/data'))).toBe(true);
  });
});
