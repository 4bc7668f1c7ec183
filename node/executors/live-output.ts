import type { LogPiece } from './docker-log.ts';

/** How much of a step's newest output is kept for readers that keep up; slower ones read the record. */
const windowBytes = 1 << 20;
/** Of a step's first block, and of the later ones. */
const blockBytes = { least: 4 << 10, most: 64 << 10 };

/** What came in small pieces lies together: a reader takes it in few large ones, and a window is never thousands of them. */
interface Block {
  bytes: Buffer;
  used: number;
}

interface StepWindow {
  /** Offset of the first byte that is still held. */
  base: number;
  /** Offset behind the last byte that came. */
  total: number;
  blocks: Block[];
  exitCode: number | null;
}

/**
 * The newest output of a container's steps, as it came over the attached stream. Takes everything at once, so that a slow
 * reader never slows the job, and forgets what is older than a window.
 */
export class LiveOutput {
  readonly #steps = new Map<number, StepWindow>();
  #newest: StepWindow | null = null;
  #waiting: (() => void)[] = [];
  /** True when the stream has ended: nothing more comes, and what there is may be incomplete. */
  isClosed = false;

  /** Opens a step's window: from here on its output is held from its first byte. */
  expect(index: number): void {
    if (this.#steps.has(index)) return;
    // One step at a time: what came of the one before is in the record.
    if (this.#newest !== null) this.#drop(this.#newest);
    this.#newest = { base: 0, total: 0, blocks: [], exitCode: null };
    this.#steps.set(index, this.#newest);
  }

  add(pieces: LogPiece[]): void {
    for (const piece of pieces) {
      if (piece.kind === 'begin') {
        this.expect(piece.index);
        continue;
      }
      const step = this.#steps.get(piece.index);
      if (!step) continue;
      if (piece.kind === 'end') step.exitCode = piece.exitCode;
      else this.#append(step, piece.bytes);
    }
    if (pieces.length > 0) this.#wake();
  }

  close(): void {
    this.isClosed = true;
    this.#wake();
  }

  exitCode(index: number): number | null {
    return this.#steps.get(index)?.exitCode ?? null;
  }

  /** What there is from an offset on; null when it is not held (any more). */
  from(index: number, offset: number): { chunks: Buffer[]; isEnd: boolean } | null {
    const step = this.#steps.get(index);
    if (!step || offset < step.base) return null;
    const chunks: Buffer[] = [];
    let at = step.base;
    for (const { bytes, used } of step.blocks) {
      if (at + used > offset) chunks.push(bytes.subarray(Math.max(0, offset - at), used));
      at += used;
    }
    return { chunks, isEnd: step.exitCode !== null };
  }

  /**
   * The bytes of a step from an offset on, as they come, until the step's end or `signal`: null then. Returns the offset
   * from which the record must be read, where this stream does not have them (any more).
   */
  async *follow(index: number, offset: number, signal: AbortSignal): AsyncGenerator<Uint8Array, number | null> {
    let at = offset;
    while (!signal.aborted) {
      const held = this.from(index, at);
      if (held === null || (this.isClosed && !held.isEnd && held.chunks.length === 0)) return at;
      for (const chunk of held.chunks) {
        at += chunk.length;
        yield chunk;
      }
      if (held.chunks.length > 0) continue;
      if (held.isEnd) return null;
      await this.news(signal);
    }
    return null;
  }

  /** Resolves at the next news, or when `signal` aborts. */
  news(signal?: AbortSignal): Promise<void> {
    return new Promise((done) => {
      const wake = (): void => {
        signal?.removeEventListener('abort', wake);
        done();
      };
      if (signal?.aborted || this.isClosed) return done();
      signal?.addEventListener('abort', wake, { once: true });
      this.#waiting.push(wake);
    });
  }

  /** A copy: the piece may be a view of a much larger buffer. What is used of a block is never written again, so readers may keep it. */
  #append(step: StepWindow, bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const last = step.blocks.at(-1);
      const block = last !== undefined && last.used < last.bytes.length ? last : this.#open(step);
      const taken = bytes.copy(block.bytes, block.used, at);
      block.used += taken;
      at += taken;
    }
    step.total += bytes.length;
    while (step.total - step.base > windowBytes && step.blocks.length > 1)
      step.base += (step.blocks.shift() as Block).used;
  }

  #open(step: StepWindow): Block {
    const size = Math.min(blockBytes.most, Math.max(blockBytes.least, step.total));
    const block = { bytes: Buffer.allocUnsafeSlow(size), used: 0 };
    step.blocks.push(block);
    return block;
  }

  #drop(step: StepWindow): void {
    step.base = step.total;
    step.blocks = [];
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}
