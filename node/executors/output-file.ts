import { open, stat, truncate } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { traceLimits } from '../../gitlab-bridge/trace.ts';

const chunkBytes = 64 << 10;
const slowestMs = 100;

/**
 * The bytes of a growing file from an offset, as they come, until `isEnded` says that nobody writes any more and all is
 * read. Polls: every 5 ms after news, slowing down to 100 ms. Memory: one chunk. Ends early, without error, on abort.
 */
export async function* followFile(
  path: string,
  offset: number,
  isEnded: () => boolean,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const file = await open(path, 'r');
  try {
    let at = offset;
    let waitMs = 5;
    while (!signal.aborted) {
      // Asked before reading: what was written before the end is then surely read.
      const ended = isEnded();
      const buffer = Buffer.allocUnsafe(chunkBytes);
      const { bytesRead } = await file.read(buffer, 0, chunkBytes, at);
      if (bytesRead > 0) {
        at += bytesRead;
        waitMs = 5;
        yield buffer.subarray(0, bytesRead);
        continue;
      }
      if (ended) return;
      await sleep(waitMs, undefined, { signal }).catch(() => undefined);
      waitMs = Math.min(waitMs * 1.5, slowestMs);
    }
  } finally {
    await file.close();
  }
}

/** Of one step's output: more than a trace holds, so that TraceLog sees that there was more. */
const keptBytes = traceLimits.traceBytes + (1 << 20);

/** The step appends, so it goes on behind the cut. Never rejects: a file that is gone needs none. To give pages back takes the kernel a while. */
export async function trim(path: string): Promise<void> {
  try {
    if ((await stat(path)).size > keptBytes) await truncate(path, keptBytes);
  } catch {
    // Removed with its run.
  }
}
