import { open } from 'node:fs/promises';

const chunkBytes = 256 << 10;

/**
 * A file's bytes by two buffers that are used in turn: one is filled while what is in the other goes out. A chunk is the reader's until it
 * asks for the next one.
 */
export async function* fileChunks(path: string): AsyncGenerator<Uint8Array> {
  const file = await open(path);
  const buffers = [Buffer.allocUnsafeSlow(chunkBytes), Buffer.allocUnsafeSlow(chunkBytes)] as const;
  const read = (turn: 0 | 1) => file.read(buffers[turn], 0, chunkBytes, null);
  let reading = read(0);
  try {
    for (let turn: 0 | 1 = 0; ; turn = turn === 0 ? 1 : 0) {
      const { bytesRead } = await reading;
      if (bytesRead === 0) return;
      reading = read(turn === 0 ? 1 : 0);
      yield buffers[turn].subarray(0, bytesRead);
    }
  } finally {
    await reading.catch(() => undefined);
    await file.close();
  }
}
