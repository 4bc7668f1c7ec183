import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import type { LedgerVault } from '../../../protocol/vault.ts';
import { systemTools } from '../system-tools.ts';
import { isFolder } from './backup-target.ts';
import type { Restic } from './restic.ts';
import type { VaultMemory } from './vault-memory.ts';
import { type About, dropFolder, snapshotFolder, takeSnapshot } from './vault-tree.ts';

/** What is done now, and how far it is, 0 to 1. */
export type Say = (phase: string, percent?: number) => void;

interface BackupRun {
  vault: LedgerVault;
  restic: Restic;
  say: Say;
  signal: AbortSignal;
}

/** Each day another part of the repository is read back, and so all of it in so many days. */
const readBackParts = 14;
const dayMs = 86_400_000;

/** `paths` of that folder (all of it where that is absent), read by a command that is run by `around`. */
export interface TakenSource {
  folder: string;
  paths?: readonly string[];
  around?: readonly string[];
}

/** What a backup is read from. */
export interface BackupSource {
  /** Of one instant, or of what changes no more, until it is dropped. */
  take(): Promise<TakenSource>;
  drop(): Promise<void>;
}

/** The data of the GitLab that is hosted here. `tree`: the folder with its subvolumes. */
export const snapshotOf = (tree: string, about: About): BackupSource => ({
  take: async () => ({ folder: await takeSnapshot(tree, about, systemTools) }),
  drop: () => dropFolder(snapshotFolder(tree), systemTools),
});

/** Its id. What has not changed since the newest backup of these data is not read again. */
export async function makeBackup(
  { vault, restic, say, signal }: BackupRun,
  about: About,
  source: BackupSource,
): Promise<string> {
  // Both at once: each call of restic opens the repository with the key, which is half a second of the processor by design.
  const [repository, made] = await Promise.allSettled([isTheOne(restic, vault, signal), restic.snapshots(signal)]);
  // Why it is not the one is the better reason.
  if (repository.status === 'rejected') throw repository.reason;
  if (made.status === 'rejected') throw made.reason;
  const mine = made.value.filter(({ tags }) => tags?.includes(`data=${about.data}`));
  const { folder, ...how } = await source.take();
  try {
    // restic leaves out what is not there, and calls that a backup.
    const missing = how.paths?.find((path) => !existsSync(join(folder, path)));
    if (missing !== undefined) throw new AutogitError('backup', `${missing} is missing in what is to be backed up`);
    const named = (['mesh', 'data', 'epoch', 'version', 'image'] as const).map((name) => `${name}=${about[name]}`);
    const tags = about.way === undefined ? named : [...named, `way=${about.way}`];
    const onPercent = (done: number): void => say(`copies to ${vault.target}`, done);
    onPercent(0);
    return await restic.backup(folder, {
      ...{ tags, parent: mine.at(-1)?.id ?? null, onPercent, signal },
      ...how,
    });
  } finally {
    await source.drop();
  }
}

/** After each one, which is `made`: older ones go, and once a day a part of the repository is read back. */
export async function thinAndCheck(
  run: BackupRun,
  { data, made }: { data: string; made: string },
  memory: VaultMemory,
  wallMs: number,
): Promise<void> {
  // A machine of the mesh that keeps them thins them itself, and lets nobody else.
  if (run.vault.keeper === undefined) await thin(run, data, made);
  const whose = { repository: run.vault.repository, data };
  if (!memory.isCheckDue(whose, wallMs)) return;
  await readBack(run, Math.floor(wallMs / dayMs));
  await memory.remember(whose, { checkedAt: wallMs });
}

/** Older ones go. That they do not undoes nothing. */
async function thin({ vault, restic, say, signal }: BackupRun, data: string, made: string): Promise<void> {
  say('lets older ones go');
  await restic.forget(`data=${data}`, vault.keep, signal, made).catch((error: unknown) => {
    throw new AutogitError('backup', `a backup was made, and older ones do not go: ${sentenceOf(error)}`, {
      hint: 'a target that takes no deletions is thinned by its owner; the lock of one that was killed is gone in half an hour',
    });
  });
}

async function readBack({ vault, restic, say, signal }: BackupRun, day: number): Promise<void> {
  say('reads a part of it back');
  await restic.check((day % readBackParts) + 1, readBackParts, signal).catch((error: unknown) => {
    throw new AutogitError('backup', `${vault.target} does not read back as it was written: ${sentenceOf(error)}`, {
      hint: 'look at the disk there, and name another place beside it: autogit-node gitlab backup --to TARGET',
    });
  });
}

/** A folder of a disk that is not mounted is empty, and a backup into it would be one of nothing. */
async function isTheOne(restic: Restic, vault: LedgerVault, signal: AbortSignal): Promise<void> {
  const found = await restic.id(signal);
  if (found === vault.repository) return;
  const { target } = vault;
  throw new AutogitError(
    'backup',
    found === null ? `the repository is not at ${target} any more` : `${target} has another repository than the mesh's`,
    {
      hint: isFolder(target)
        ? `see whether its disk is mounted: findmnt -T ${target}`
        : `name the place anew: autogit-node gitlab backup --to TARGET`,
    },
  );
}
