import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { CacheDamaged, headOf, plainBlocks, provenTree, type ReadAt, readerOf, sumUpTo } from './cache-blocks.ts';
import { sumBytes } from './cache-layout.ts';

/** What was found of a cache's bytes: their sum, and whether a tree may be made of what is in them. */
export interface CacheLook {
  sizeBytes: number;
  sum: Buffer;
  /** Of the tar in it. */
  plainBytes: number;
  /** As in its tail. */
  isPlain: boolean;
  /** Why it is no tree. */
  problem: CacheDamaged | null;
}

const waitMs = 10;

/**
 * Looks at a file of `sizeBytes` while it is written: whatever has come of it is summed up, and unpacked to nowhere. When the
 * last of it is there, little is left to do. Throws only for `signal`, and for a file that cannot be read.
 */
export async function lookAsItComes(path: string, sizeBytes: number, signal: AbortSignal): Promise<CacheLook> {
  const file = await opened(path, signal);
  try {
    const read = comingReader(file, sizeBytes, signal);
    const sum = sumUpTo(read, Math.max(0, sizeBytes - sumBytes), signal);
    const proven = (async (): Promise<Omit<CacheLook, 'sizeBytes' | 'sum'>> => {
      try {
        const { at, bytes } = await headOf(read);
        return { ...(await provenTree(plainBlocks(read, at + bytes), signal)), problem: null };
      } catch (problem) {
        if (problem instanceof CacheDamaged) return { plainBytes: 0, isPlain: false, problem };
        throw problem;
      }
    })();
    // Neither reads on when the file is closed.
    await Promise.allSettled([sum, proven]);
    return { sizeBytes, sum: await sum, ...(await proven) };
  } finally {
    await file.close();
  }
}

async function opened(path: string, signal: AbortSignal): Promise<FileHandle> {
  for (;;) {
    try {
      return await open(path, 'r');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
    await sleep(waitMs, undefined, { signal });
  }
}

/** Waits for what is to be read. */
function comingReader(file: FileHandle, sizeBytes: number, signal: AbortSignal): ReadAt {
  const read = readerOf(file);
  let come = 0;
  return async (bytes, position) => {
    const end = position + bytes.length;
    if (end > sizeBytes) throw new CacheDamaged('it was cut off');
    while (come < end) {
      come = (await file.stat()).size;
      if (come < end) await sleep(waitMs, undefined, { signal });
    }
    return read(bytes, position);
  };
}
