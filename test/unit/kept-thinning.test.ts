import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { KeptVault } from '../../node/hosting/keep/kept-vault.ts';
import type { Restic } from '../../node/hosting/vault/restic.ts';
import { abilities, type Ledger } from '../../protocol/ledger.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';

/** When and how the machine that keeps backups thins them: what restic is told, and who comes in meanwhile. */
const disk = vi.hoisted(() => ({ freeBytes: 1e12 }));
vi.mock('../../node/disk-use.ts', async (real) => ({
  ...(await real<object>()),
  diskOf: () => ({ totalBytes: 1e13, freeBytes: disk.freeBytes }),
  filesOf: () => null,
}));
vi.mock('../../node/hosting/place-choice.ts', () => ({ ownersReserve: () => 0 }));

const dayMs = 86_400_000;
const ask = { kind: 'open-vault-door', purpose: 'use' } as const;
const { K } = foundedMesh({ store: 's' }).nodes;
const can = [...abilities];
const snapshot = 'a'.repeat(64);

let folder = '';
let ledger: Ledger | null;
let kept: KeptVault;
let mayOpen = true;
let drops: { ids: readonly string[]; repackMost: number }[] = [];
let onDrop: () => Promise<void>;
const clock = { boot: 1e6, wall: Date.UTC(2026, 10, 2, 12) };

/** Of restic only what it is asked for: that the real one does it shows test/real/kept-vault.test.ts. */
const restic = {
  id: async () => 'r'.repeat(64),
  snapshots: async () => [{ id: snapshot, time: '2026-11-02T12:00:00Z', tags: ['data=k3v9q2m4'] }],
  drop: (ids: readonly string[], repackMost: number) => {
    drops.push({ ids, repackMost });
    return onDrop();
  },
} as unknown as Restic;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'autogit-thin-'));
  const founded = foundedMesh({ store: 's' });
  const vault = {
    ...{ target: 'node:desktop-1', keeper: 'D', repository: 'r'.repeat(64), secret: 'sealed', everyMs: dayMs },
    ...{ keep: { daily: 7, weekly: 4, monthly: 6 }, since: 0, because: 'a person named the place' },
  };
  ledger = {
    ...founded,
    nodes: { K: { ...K!, can }, D: { ...K!, name: 'desktop-1', can } },
    gitlab: { ...founded.gitlab, mode: 'hosted', host: 'K', epoch: 3, hosted: hostedGitlab({}), vault },
  };
  [disk.freeBytes, mayOpen, drops, onDrop] = [1e12, true, [], async () => undefined];
  kept = new KeptVault({
    ...{ self: 'D', home: folder, ledger: () => ledger, isAllowed: true },
    clock: { bootMs: () => clock.boot, wallMs: () => clock.wall },
    log: { info: () => undefined, warn: () => undefined },
    open: () => (mayOpen ? restic : null),
  });
});
afterEach(async () => {
  await kept.stop();
  rmSync(folder, { recursive: true });
});

const home = (): string => join(folder, 'gitlab-vault/m');
const notes = () => JSON.parse(readFileSync(join(home(), 'kept.json'), 'utf8'));
async function filled(): Promise<void> {
  expect(await kept.answer('K', ask)).toMatchObject({ kind: 'vault-door' });
  writeFileSync(join(home(), 'repository/snapshots', snapshot), 'x');
  writeFileSync(join(home(), 'repository/config'), 'x');
}
async function aDayLater(): Promise<void> {
  const before = existsSync(join(home(), 'kept.json')) ? notes().thinnedAt : null;
  clock.wall += dayMs;
  clock.boot += dayMs;
  // One that has just ended may not be seen to have.
  const isThinned = (): boolean => {
    kept.look();
    return notes().thinnedAt !== before;
  };
  await expect.poll(isThinned, { timeout: 8000 }).toBe(true);
}

it('where nothing is to be let go nothing is pruned; where room is short what backups that were cut off have left is', async () => {
  await filled();
  await aDayLater();
  expect(drops).toEqual([]);
  disk.freeBytes = 100 << 20;
  await aDayLater();
  expect(drops).toEqual([{ ids: [], repackMost: 100 << 20 }]);
  // And on a disk of which its owner has filled what was the owner's, nothing is written anew.
  disk.freeBytes = -1;
  await aDayLater();
  expect(drops.at(-1)).toEqual({ ids: [], repackMost: 0 });
});

it('one that was ended in its midst is done again, also when nothing more is to be let go', async () => {
  await filled();
  disk.freeBytes = 0;
  onDrop = () => Promise.reject(new Error('killed'));
  clock.wall += dayMs;
  clock.boot += dayMs;
  kept.look();
  const isSaid = (): boolean => kept.attention().some((one) => one.sentence.includes('killed'));
  await expect.poll(isSaid, { timeout: 8000 }).toBe(true);
  disk.freeBytes = 1e12;
  onDrop = async () => undefined;
  await aDayLater();
  expect(drops).toHaveLength(2);
  expect(notes()).not.toHaveProperty('owes');
  await aDayLater();
  expect(drops).toHaveLength(2);
});

it('a door that was opened is not thinned behind, and doors that nobody comes through are not without end', async () => {
  await filled();
  clock.wall += dayMs;
  clock.boot += dayMs;
  expect(await kept.answer('K', ask)).toMatchObject({ kind: 'vault-door' });
  kept.look();
  const answers = [];
  for (let at = 0; at < 40; at += 1) answers.push(await kept.answer('K', ask));
  expect(answers[0]).toMatchObject({ kind: 'vault-door' });
  expect(answers.filter(({ kind }) => kind === 'vault-door').length).toBeLessThan(24);
  expect(answers.at(-1)).toMatchObject({ kind: 'refused', because: 'there are too many connections' });
});

it('fewer that are wanted before it can thin do not hold at once when it can', async () => {
  mayOpen = false;
  await filled();
  ledger!.gitlab.vault!.keep = { daily: 1, weekly: 0, monthly: 0 };
  mayOpen = true;
  expect(await kept.answer('K', ask)).toMatchObject({ kept: expect.stringContaining('(7,4,6)') });
  expect(kept.attention()[0]?.sentence).toContain('fewer shall stay (1,0,0)');
});

it('before the ledger is there nobody is told to delete what may be in use', async () => {
  await filled();
  const before = ledger;
  ledger = null;
  expect(kept.attention()).toEqual([]);
  ledger = { ...before!, gitlab: { ...before!.gitlab, vault: undefined } };
  expect(kept.attention()).toMatchObject([{ code: 'gitlab-vault-left' }]);
});

it('a second name is given also where the path to it has a folder of locks', async () => {
  const { holdBack } = await import('../../node/hosting/keep/let-go.ts');
  const at = join(folder, 'locks/m');
  for (const type of ['data', 'locks']) mkdirSync(join(at, 'repository', type), { recursive: true });
  for (const type of ['data', 'locks']) writeFileSync(join(at, 'repository', type, 'one'), 'x');
  await holdBack(join(at, 'repository'), at, 5);
  expect(readdirSync(join(at, 'thinned/5'), { recursive: true }).sort()).toEqual(['data', 'data/one']);
});
