import { type FileHandle, open, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Why artifacts cannot be packed, in words for the trace. `isJobs`: the job asked for too much; else this machine has too little. */
export class PackProblem extends Error {
  override readonly name = 'PackProblem';
  readonly isJobs: boolean;
  constructor(message: string, isJobs: boolean) {
    super(message);
    this.isJobs = isJobs;
  }
}

/** Where bytes of an earlier entry lie, for a hard link that has the same. */
export interface Range {
  offset: number;
  length: number;
}

const bufferBytes = 1 << 20;
const checkEvery = 32 << 20;
/** Room that artifacts never take from the disk that holds the agent's own state. */
const reserveOf = (diskBytes: number): number => Math.min(1 << 30, diskBytes / 10);

/** How much more may be written below a folder before the reserve is touched. */
export async function roomIn(folder: string): Promise<number> {
  const { bavail, bsize, blocks } = await statfs(folder);
  return bavail * bsize - reserveOf(blocks * bsize);
}

/** A file that grows at its end, by large writes, and stops before the disk is full. */
export class SpoolFile {
  size = 0;
  readonly #handle: FileHandle;
  readonly #folder: string;
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #checkAt = 0;

  private constructor(handle: FileHandle, folder: string) {
    this.#handle = handle;
    this.#folder = folder;
  }

  static async create(path: string): Promise<SpoolFile> {
    return new SpoolFile(await open(path, 'w+', 0o600), dirname(path));
  }

  async append(bytes: Uint8Array): Promise<void> {
    this.#held.push(bytes);
    this.#heldBytes += bytes.length;
    this.size += bytes.length;
    if (this.#heldBytes >= bufferBytes) await this.flush();
  }

  /** Writes over bytes that were appended before. */
  async patch(offset: number, bytes: Uint8Array): Promise<void> {
    await this.flush();
    await this.#handle.write(bytes, 0, bytes.length, offset);
  }

  async copy({ offset, length }: Range): Promise<void> {
    await this.flush();
    for (let at = 0; at < length; ) {
      const bytes = Buffer.alloc(Math.min(bufferBytes, length - at));
      const { bytesRead } = await this.#handle.read(bytes, 0, bytes.length, offset + at);
      if (bytesRead === 0) throw new Error('the file of artifacts lost bytes');
      await this.append(bytes.subarray(0, bytesRead));
      await this.flush();
      at += bytesRead;
    }
  }

  async flush(): Promise<void> {
    if (this.#heldBytes === 0) return;
    if (this.size >= this.#checkAt) {
      if ((await roomIn(this.#folder)) < this.#heldBytes + checkEvery)
        throw new PackProblem("the disk of this node's home has too little room left for the artifacts", false);
      this.#checkAt = this.size + checkEvery;
    }
    const bytes = Buffer.concat(this.#held);
    this.#held = [];
    this.#heldBytes = 0;
    for (let at = 0; at < bytes.length; )
      at += (await this.#handle.write(bytes, at, bytes.length - at, null)).bytesWritten;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}
