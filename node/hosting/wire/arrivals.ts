import { Readable } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { RoundSource } from '../replica/replica-ports.ts';
import { type Frame, frameKinds, spoken, writeProgress } from './frames.ts';
import { lineTimings } from './line-options.ts';

/**
 * What arrived and waits for this machine's disk. Its own pauses are no queue of the way's: what is shorter than this at the
 * speed of a cable is not seen by the sender, who would halve what it sends for each.
 */
export const waitingBytes = 8 << 20;

/** Bytes for a reader that takes them when it can; `put` returns when there is room for more. Leaves nothing behind: a whole copy waits for its disk thousands of times. */
class Arrivals extends Readable {
  #go: () => void = () => {};

  constructor() {
    super({ highWaterMark: waitingBytes });
  }

  override _read(): void {
    this.#go();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#go();
    done(error);
  }

  async put(bytes: Buffer): Promise<void> {
    if (this.destroyed || this.push(bytes)) return;
    await new Promise<void>((resolve) => {
      this.#go = resolve;
    });
  }
}

const unreadBytes = 64 << 10;

/**
 * A round that comes over this connection, for `use`, whose error is thrown; returns when it is used and all of it was read. `who` sends
 * it, for people. `progress`: told how much has arrived, also while the disk here takes it in.
 */
export async function arriving(
  socket: TLSSocket,
  frames: AsyncGenerator<Frame>,
  { who, progress }: { who: string; progress: boolean },
  use: (source: RoundSource) => Promise<void>,
): Promise<void> {
  const stream = new Arrivals();
  stream.on('error', () => {});
  let isOver = false;
  let whole: () => void = () => {};
  let broken: (error: Error) => void = () => {};
  const done = new Promise<void>((resolve, reject) => {
    whole = resolve;
    broken = reject;
  });
  done.catch(() => {});
  const breaks = (error: Error): void => {
    broken(error);
    stream.destroy(error);
  };
  /** Of the way, not of who takes it: a program that is fed says only that it had too little. */
  let cut: Error | null = null;
  const isCut = (error: Error): void => {
    cut ??= error;
    breaks(error);
  };
  const using = use({ stream, done, end: () => breaks(new Error('the round is not taken')) }).finally(() => {
    isOver = true;
    stream.destroy();
  });
  using.catch(() => {});
  let bytes = 0;
  // Who reads nothing is told nothing: it would all lie here.
  const tell = (): void => {
    if (progress && !isOver && socket.writableLength < unreadBytes) writeProgress(socket, bytes);
  };
  // Also while the disk takes in what arrived: a machine that lives is told from one that lost its power.
  const pulse = setInterval(tell, lineTimings.pulseMs);
  tell();
  const feeding = (async () => {
    while (!isOver) {
      const { value: frame, done: isEnd } = await spoken(socket, frames, who);
      if (isEnd) return isCut(new Error(`${who} was cut off`));
      if (frame.kind === frameKinds.end) {
        stream.push(null);
        return whole();
      }
      if (frame.kind !== frameKinds.data) return isCut(new Error(`${who} broke the round off`));
      bytes += frame.body.length;
      tell();
      await stream.put(frame.body);
    }
  })().catch((error: NodeJS.ErrnoException) => {
    // How a connection breaks is the kernel's matter (EPIPE, ECONNRESET): for people it is the same.
    isCut(error.code === undefined ? error : new Error(`${who} was cut off (${error.code})`));
  });
  try {
    await using;
    await feeding;
  } catch (error) {
    throw cut ?? error;
  } finally {
    clearInterval(pulse);
  }
}
