import { readFileSync, statfsSync } from 'node:fs';
import { type Disk, diskOf } from '../../disk-use.ts';
import type { SystemTools } from '../system-tools.ts';
import { ReplicaProblem } from './replica-problem.ts';

/** The file system that both parts of a place lie on. One sync at a time, and nobody else's: it tells of a loss once only. */
export class RoundDisk {
  /** A folder on it. */
  readonly folder: string;
  readonly #tools: SystemTools;
  #syncing: Promise<unknown> = Promise.resolve();
  #losses = 0;
  #fsid: Promise<string | null> | null = null;

  constructor(folder: string, tools: SystemTools) {
    this.folder = folder;
    this.#tools = tools;
  }

  /** What was written since `mark` is lost as soon as any sync since then failed, whoever asked for it. */
  get mark(): number {
    return this.#losses;
  }

  /** `sync -f` alone tells of data that were lost; `btrfs filesystem sync` says 0 over them. */
  sync(mark: number): Promise<void> {
    const next = this.#syncing.then(async () => {
      try {
        await this.#tools.run('sync', ['-f', this.folder]);
      } catch (error) {
        this.#losses += 1;
        throw error;
      }
      if (this.#losses !== mark)
        throw new ReplicaProblem('the disk lost something that was written meanwhile', 'look at it: dmesg | tail');
    });
    this.#syncing = next.catch(() => {});
    return next;
  }

  /** Of the newest transaction that was begun: whatever changes a byte begins one. Null where the kernel does not tell (before 5.13). */
  async generation(): Promise<number | null> {
    this.#fsid ??= this.#tools.run('btrfs', ['filesystem', 'show', this.folder]).then(
      (text) => /uuid: ([\da-f-]{36})/.exec(text)?.[1] ?? null,
      () => null,
    );
    const fsid = await this.#fsid;
    try {
      const number = Number.parseInt(readFileSync(`/sys/fs/btrfs/${fsid}/generation`, 'utf8'), 10);
      return Number.isSafeInteger(number) ? number : null;
    } catch {
      return null;
    }
  }

  room(): Disk {
    return diskOf(statfsSync(this.folder));
  }

  usedBytes(): number {
    const { blocks, bfree, bsize } = statfsSync(this.folder);
    return (blocks - bfree) * bsize;
  }
}
