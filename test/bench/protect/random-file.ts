import { randomFillSync } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';

/** A file that nothing makes shorter: each MiB differs from all others, and none of it can be compressed. */
export async function randomFile(path: string, bytes: number): Promise<void> {
  const piece = randomFillSync(Buffer.alloc(1 << 20));
  const file = openSync(path, 'w', 0o644);
  try {
    for (let at = 0; at < bytes; at += piece.length) {
      // Every 4 KiB of it is another one, at a fraction of what new chance costs.
      for (let page = 0; page < piece.length; page += 4096) piece.writeDoubleLE(Math.random() * at, page);
      writeSync(file, piece, 0, Math.min(piece.length, bytes - at));
      if (at % (16 << 20) === 0) await turn();
    }
  } finally {
    closeSync(file);
  }
}
