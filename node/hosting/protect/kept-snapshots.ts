import { lstat, readdir, readFile, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { newestOf, type RoundName, readRoundName, roundText } from '../../../protocol/round-name.ts';
import { type DatedRound, type Pressure, thin } from '../../../scheduler/hosting/copies/thinning.ts';
import { askDisk } from '../../asked-disk.ts';
import { makeFolder } from '../../store/home.ts';
import { systemTools } from '../system-tools.ts';
import { About, aboutFile } from '../vault/vault-tree.ts';

/** What lies in each, written last: without it nothing there counts. */
const Note = About.extend({ atMs: z.number().nonnegative() });

export interface KeptSnapshot extends DatedRound {
  about: About;
  /** The snapshot of the whole subvolume, read-only. */
  snapshot: string;
  /** A copy of its configuration, where that lies elsewhere; else it is in the snapshot. */
  config: string;
}

interface Taken {
  /** Null where the snapshot has it. */
  config: string | null;
  subvolume: string;
}

/** Each part of a folder of one snapshot. */
const names = { snapshot: 'data', config: 'config' } as const;
const isThere = (path: string): Promise<boolean> =>
  askDisk(path, () =>
    lstat(path).then(
      (there) => there.isDirectory(),
      () => false,
    ),
  );

/**
 * Snapshots of a GitLab that a person runs, kept on its own file system by the ladder of rounds: `FOLDER/0-1-NUMBER`. Nothing of that
 * GitLab is changed by them.
 */
export class KeptSnapshots {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  /** Those that are whole, the oldest first. */
  async list(): Promise<KeptSnapshot[]> {
    const found = await Promise.all((await this.#entries()).map((entry) => this.#read(entry)));
    return found.flatMap((one) => one ?? []).sort((a, b) => a.name.number - b.name.number);
  }

  /** One instant, on the disk when it returns. `atMs`: by this machine's own count of time. */
  async take({ config, subvolume }: Taken, about: About, atMs: number): Promise<KeptSnapshot> {
    await this.tidy();
    const name = { era: 0, epoch: 1, number: (newestOf(await this.list())?.name.number ?? 0) + 1 };
    const at = join(this.folder, roundText(name));
    makeFolder(this.folder, 0o700);
    makeFolder(at, 0o700);
    try {
      // The owner's file system is mounted without `flushoncommit`: what was renamed a moment ago would be there without its bytes.
      await systemTools.run('sync', ['-f', subvolume]);
      await systemTools.run('btrfs', ['subvolume', 'snapshot', '-r', subvolume, join(at, names.snapshot)]);
      if (config !== null) await systemTools.run('cp', ['-a', '--', config, join(at, names.config)]);
      await systemTools.run('sync', ['-f', at]);
      await systemTools.write(join(at, aboutFile), JSON.stringify({ ...about, atMs }));
      await systemTools.syncFolder(at);
    } catch (error) {
      await this.#drop(name).catch(() => undefined);
      throw error;
    }
    return (await this.#read(roundText(name))) as KeptSnapshot;
  }

  /** Older ones go, by the ladder; `pinned` stay. */
  async thin(pinned: ReadonlySet<string>, pressure: Pressure): Promise<void> {
    for (const { name } of thin(await this.list(), pinned, pressure)) await this.#drop(name);
  }

  /** What was begun and is not whole, of an agent that was killed. */
  async tidy(): Promise<void> {
    for (const entry of await this.#entries()) {
      const name = readRoundName(entry);
      if (name !== null && (await this.#read(entry)) === null) await this.#drop(name);
    }
  }

  /** Whatever is not pinned: the owner's room goes before all history. */
  async dropAll(pinned: ReadonlySet<string>): Promise<void> {
    for (const { name } of await this.list()) if (!pinned.has(roundText(name))) await this.#drop(name);
  }

  #entries(): Promise<string[]> {
    return askDisk(this.folder, () => readdir(this.folder).catch(() => []));
  }

  async #read(entry: string): Promise<KeptSnapshot | null> {
    const name = readRoundName(entry);
    if (name === null) return null;
    const at = join(this.folder, entry);
    try {
      const text = await askDisk(at, () => readFile(join(at, aboutFile), 'utf8'));
      const { atMs, ...about } = Note.parse(JSON.parse(text));
      const [snapshot, config] = [join(at, names.snapshot), join(at, names.config)];
      return (await isThere(snapshot)) ? { name, atMs, about, snapshot, config } : null;
    } catch {
      return null; // None yet, or half of one.
    }
  }

  /** Its note first: half of one is none. */
  async #drop(name: RoundName): Promise<void> {
    const at = join(this.folder, roundText(name));
    await askDisk(at, () => rm(join(at, aboutFile), { force: true }));
    const snapshot = join(at, names.snapshot);
    if (await isThere(snapshot)) await systemTools.run('btrfs', ['subvolume', 'delete', '--commit-after', snapshot]);
    await askDisk(at, () => rm(join(at, names.config), { recursive: true, force: true }));
    await askDisk(at, () => rmdir(at));
  }
}
