import { mkdirSync } from 'node:fs';
import { lstat, readdir, readFile, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type RoundName, readRoundName, roundText } from '../../../protocol/round-name.ts';
import { type DatedRound, type Pressure, thin } from '../../../scheduler/hosting/copies/thinning.ts';
import { askDisk } from '../../machine/asked-disk.ts';
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
/** Null where it is not there. What a disk does not say in its trouble is not taken for that: throws then. */
const unless = (error: NodeJS.ErrnoException): null => {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
  throw error;
};
const isThere = (path: string): Promise<boolean> =>
  askDisk(path, async () => (await lstat(path).catch(unless))?.isDirectory() === true);

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
    const found = await Promise.all((await this.#entries()).map((name) => this.#read(name)));
    return found.flatMap((one) => (typeof one === 'string' ? [] : one)).sort((a, b) => a.name.number - b.name.number);
  }

  /** One instant, on the disk when it returns. `atMs`: by this machine's own count of time. */
  async take({ config, subvolume }: Taken, about: About, atMs: number): Promise<KeptSnapshot> {
    await this.tidy();
    const numbers = (await this.#entries()).map(({ number }) => number);
    const name = { era: 0, epoch: 1, number: Math.max(0, ...numbers) + 1 };
    const at = join(this.folder, roundText(name));
    makeFolder(this.folder, 0o700);
    // Made here and now: whatever lay there would go with what fails below.
    mkdirSync(at, { mode: 0o700 });
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
    return (await this.#read(name)) as KeptSnapshot;
  }

  /** Older ones go, by the ladder; `pinned` stay. */
  async thin(pinned: ReadonlySet<string>, pressure: Pressure): Promise<void> {
    for (const { name } of thin(await this.list(), pinned, pressure)) await this.#drop(name);
  }

  /** What was begun and is not whole, of an agent that was killed. */
  async tidy(): Promise<void> {
    for (const name of await this.#entries()) if ((await this.#read(name)) === 'half') await this.#drop(name);
  }

  /** Whatever is not pinned: the owner's room goes before all history. */
  async dropAll(pinned: ReadonlySet<string>): Promise<void> {
    for (const { name } of await this.list()) if (!pinned.has(roundText(name))) await this.#drop(name);
  }

  async #entries(): Promise<RoundName[]> {
    const entries = await askDisk(this.folder, () => readdir(this.folder).catch(unless));
    return (entries ?? []).flatMap((entry) => readRoundName(entry) ?? []);
  }

  /** `strange`: a later version may know what it is, and this one leaves it. */
  async #read(name: RoundName): Promise<KeptSnapshot | 'half' | 'strange'> {
    const at = join(this.folder, roundText(name));
    const text = await askDisk(at, () => readFile(join(at, aboutFile), 'utf8').catch(unless));
    const note = text === null ? undefined : jsonOf(text);
    if (note === undefined) return 'half';
    const known = Note.safeParse(note);
    if (!known.success) return 'strange';
    const { atMs, ...about } = known.data;
    const [snapshot, config] = [join(at, names.snapshot), join(at, names.config)];
    return (await isThere(snapshot)) ? { name, atMs, about, snapshot, config } : 'half';
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

/** Undefined where it was cut off. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
