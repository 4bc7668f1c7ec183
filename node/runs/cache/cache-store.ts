import { createHash } from 'node:crypto';
import { lstat, mkdir, open, readdir, rename, rm, statfs, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { diskOf } from '../../disk-use.ts';
import { InTurn } from '../../in-turn.ts';
import type { Log } from '../../log.ts';
import { showBytes } from '../../settings/quantities.ts';
import { places } from '../../store/home.ts';
import { roomIn } from '../spool-file.ts';
import { CacheDamaged } from './cache-blocks.ts';
import { type CacheHead, OpenCache } from './cache-file.ts';
import type { CacheLook } from './cache-look.ts';
import { type CacheFacts, outgrown } from './cache-thinning.ts';
import type { PackedBlocks } from './packed-blocks.ts';

interface CacheStoreOptions {
  home: string;
  /** What all caches may take; absent: 20 GiB, and a tenth of the home's disk at most. 0: none are kept. */
  limitBytes?: number | undefined;
  log: Pick<Log, 'info' | 'warn'>;
  wallMs(): number;
}

/** One that is kept, for people. */
interface KeptCache extends CacheFacts {
  key: string;
  project: string;
  savedAt: number;
}

const usualBytes = 20 * 2 ** 30;
const ageMs = 30 * 86_400_000;
/** Between two looks at what all of them take; each keeping looks too. */
const lookEveryMs = 600_000;
const writeOutMs = 500;
/** Of what is known of packed blocks: 27 GiB of caches. Those that were kept last stay. */
const mostKnownBytes = 1 << 20;
const nameShape = /^[0-9a-f]{40}$/;

const nameOf = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 40);

/** Whose caches they are: another project's, another instance's, and those of another kind of machine are not to be had. */
export interface CacheOwner {
  /** GitLab's own number of the instance, else its address. */
  instance: string;
  projectId: number;
  executor: string;
  architecture: string;
}

/** How the folder of a project's caches is called, and a cache in it: on every machine of the mesh the same. */
export const cacheNames = (
  { instance, projectId, executor, architecture }: CacheOwner,
  key: string,
): { owner: string; key: string } => ({
  owner: nameOf(JSON.stringify([instance, projectId, executor, architecture])),
  key: nameOf(key),
});

/**
 * The caches of this node's jobs, one file each, in folders by project. A file comes to its place whole and on disk, by a
 * rename; a power cut leaves the one before. Names are sums: no key is a path. Never throws for what is merely missing.
 */
export class CacheStore {
  readonly #options: CacheStoreOptions;
  readonly #folder: string;
  readonly #incoming: string;
  #looking: NodeJS.Timeout | null = null;
  readonly #turn = new InTurn();
  #count = 0;
  /** Of files that were packed here since the agent began; the last one kept comes last. */
  readonly #known = new Map<string, PackedBlocks>();

  constructor(options: CacheStoreOptions) {
    this.#options = options;
    this.#folder = places(options.home).caches;
    this.#incoming = join(this.#folder, 'incoming');
  }

  /** What all of them may take together, bytes. */
  async limitBytes(): Promise<number> {
    const { home, limitBytes } = this.#options;
    if (limitBytes !== undefined) return limitBytes;
    return Math.min(usualBytes, Math.floor(diskOf(await statfs(home)).totalBytes / 10));
  }

  /** Removes what killed agents left, and begins to look. */
  async start(): Promise<void> {
    await rm(this.#incoming, { recursive: true, force: true });
    await this.thin();
    this.#looking ??= setInterval(() => void this.thin().catch(() => undefined), lookEveryMs).unref();
  }

  stop(): void {
    if (this.#looking) clearInterval(this.#looking);
    this.#looking = null;
  }

  fileOf(owner: CacheOwner, key: string): string {
    const names = cacheNames(owner, key);
    return this.fileAt(names.owner, names.key);
  }

  /** By the sums that `cacheNames` makes. */
  fileAt(owner: string, key: string): string {
    return join(this.#folder, owner, key);
  }

  /** Of a file of ours, without reading all of it; null when there is none that can be read. */
  async factsAt(path: string): Promise<{ savedAt: number; sizeBytes: number; method: CacheHead['method'] } | null> {
    const found = await glanceAt(path);
    return found && { savedAt: found.head.savedAt, sizeBytes: found.sizeBytes, method: found.head.method };
  }

  /** Whole, as its sum says; null when there is none. A damaged one is removed, and CacheDamaged thrown. */
  async open(owner: CacheOwner, key: string, signal?: AbortSignal): Promise<OpenCache | null> {
    const path = this.fileOf(owner, key);
    let found: OpenCache | null = null;
    try {
      found = await OpenCache.at(path);
      await found?.check(signal);
      if (found !== null && found.head.key !== key) throw new CacheDamaged('it was kept under another key');
      return found;
    } catch (error) {
      await found?.close();
      if (error instanceof CacheDamaged) await rm(path, { force: true });
      throw error;
    }
  }

  /** Of what is kept under a key: what was packed, without reading it; null when there is none that can be read. */
  async contentOf(owner: CacheOwner, key: string): Promise<string | null> {
    const found = await glanceAt(this.fileOf(owner, key));
    return found?.head.key === key ? found.tail.content : null;
  }

  /** It is not the next one to go. */
  async used(owner: CacheOwner, key: string): Promise<void> {
    const now = new Date(this.#options.wallMs());
    await utimes(this.fileOf(owner, key), now, now).catch(() => undefined);
  }

  /** A file that does not exist yet, on the disk of the caches; who fills it hands it on, or removes it. Throws where there is no room for so much. */
  async spool(bytes = 0): Promise<string> {
    if (bytes > 0 && bytes > (await roomIn(this.#options.home)))
      throw new Error("the disk of this node's home has too little room left for it");
    await mkdir(this.#incoming, { recursive: true, mode: 0o700 });
    return join(this.#incoming, `${process.pid}-${++this.#count}`);
  }

  /**
   * Has the disk begin with what is in such a file so far, again and again, until `signal` says that it is whole: there is less to
   * wait for then when it is kept. Never throws.
   */
  async writeOut(file: string, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(writeOutMs, undefined, { signal, ref: false }).catch(() => undefined);
      if (!signal.aborted) await synced(file).catch(() => undefined);
    }
  }

  /**
   * Takes what came from another machine, when all of it is what a packing thread of ours would have made, by a look at it as it
   * came. It is open, so that its bytes need not be proven once more by whoever unpacks them now: close it. Throws CacheDamaged.
   */
  async adopt(owner: CacheOwner, key: string, file: string, look: CacheLook): Promise<OpenCache> {
    const found = await OpenCache.at(file);
    if (found === null) throw new CacheDamaged('nothing came');
    try {
      if (found.head.key !== key) throw new CacheDamaged('it was kept under another key');
      await found.believe(look);
      await this.keep(owner, key, file);
      return found;
    } catch (error) {
      await found.close();
      throw error;
    }
  }

  /** What this agent knows of the blocks of a cache, and where they are: of one that it has packed itself. */
  blocksOf(owner: CacheOwner, key: string): { file: string; blocks: PackedBlocks } | null {
    const file = this.fileOf(owner, key);
    const blocks = this.#known.get(file);
    return blocks === undefined ? null : { file, blocks };
  }

  /** Takes a packed file; what was there before stays until the new one is on disk. `blocks`: of one that was packed here. */
  async keep(owner: CacheOwner, key: string, file: string, blocks: PackedBlocks | null = null): Promise<void> {
    const path = this.fileOf(owner, key);
    this.#know(path, null);
    const folder = join(path, '..');
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const now = new Date(this.#options.wallMs());
    await utimes(file, now, now);
    await synced(file);
    await rename(file, path);
    this.#know(path, blocks);
    await synced(folder);
    await this.thin();
  }

  #know(path: string, blocks: PackedBlocks | null): void {
    this.#known.delete(path);
    if (blocks !== null) this.#known.set(path, blocks);
    let bytes = [...this.#known.values()].reduce((sum, { records }) => sum + records.length, 0);
    for (const [first, { records }] of this.#known) {
      if (bytes <= mostKnownBytes) return;
      this.#known.delete(first);
      bytes -= records.length;
    }
  }

  /** Removes what nothing used for long, what is beyond the limit, and what the home's disk has no room for. */
  thin(): Promise<void> {
    return this.#turn.do(async () => {
      const room = await roomIn(this.#options.home).catch(() => 0);
      const gone = await this.#remove(Math.max(0, -room));
      if (gone.length === 0) return;
      const bytes = gone.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      this.#options.log.info(
        `removed ${gone.length} caches of jobs, ${showBytes(bytes)}: old, or more than there is room for`,
      );
    });
  }

  /** The home's disk is full: at least so much is given back, the longest unused first. Bytes that came back. */
  giveBack(bytes: number): Promise<number> {
    return this.#turn.do(async () => {
      const gone = await this.#remove(bytes);
      const back = gone.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      if (gone.length > 0)
        this.#options.log.warn(`the disk is full: removed ${gone.length} caches of jobs, ${showBytes(back)}`);
      return back;
    });
  }

  /** All that are kept, the last used first. */
  async list(): Promise<KeptCache[]> {
    const kept: KeptCache[] = [];
    for (const facts of await this.#facts()) {
      const head = (await glanceAt(facts.file))?.head;
      if (head) kept.push({ ...facts, key: head.key, project: head.project, savedAt: head.savedAt });
      else kept.push({ ...facts, key: '', project: '', savedAt: facts.usedAt });
    }
    return kept.sort((a, b) => b.usedAt - a.usedAt);
  }

  /** Of a project by its path at GitLab, null: of all. What runs reads on from what it has opened. */
  clear(project: string | null): Promise<{ count: number; bytes: number }> {
    return this.#turn.do(async () => {
      let count = 0;
      let bytes = 0;
      for (const kept of await this.list()) {
        if (project !== null && kept.project.toLowerCase() !== project.toLowerCase()) continue;
        await rm(kept.file, { force: true });
        count++;
        bytes += kept.sizeBytes;
      }
      return { count, bytes };
    });
  }

  async #remove(shortBytes: number): Promise<CacheFacts[]> {
    const limitBytes = await this.limitBytes();
    const gone = outgrown(await this.#facts(), { limitBytes, shortBytes, ageMs, wallMs: this.#options.wallMs() });
    for (const { file } of gone) await rm(file, { force: true });
    return gone;
  }

  async #facts(): Promise<CacheFacts[]> {
    const facts: CacheFacts[] = [];
    for (const owner of await names(this.#folder))
      for (const name of await names(join(this.#folder, owner))) {
        const file = join(this.#folder, owner, name);
        const stat = await lstat(file).catch(() => null);
        if (stat?.isFile()) facts.push({ file, sizeBytes: stat.size, usedAt: stat.mtimeMs });
      }
    return facts;
  }
}

/** What it says of itself, closed again; null when there is none that can be read. */
async function glanceAt(path: string): Promise<Pick<OpenCache, 'head' | 'tail' | 'sizeBytes'> | null> {
  const found = await OpenCache.at(path).catch(() => null);
  await found?.close();
  return found;
}

const names = (folder: string): Promise<string[]> =>
  readdir(folder).then(
    (all) => all.filter((name) => nameShape.test(name)),
    () => [],
  );

async function synced(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
