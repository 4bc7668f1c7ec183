import { setTimeout as sleep } from 'node:timers/promises';
import { SendWindow } from './send-window.ts';

/** A pause of the sender's own is made up for, by no more than this. */
const makeUpMs = 50;

/** What a machine sends at most, all of it together, because its owner said so (`copyRate`). */
export class RateLimit {
  readonly #bytesPerSecond: number | null;
  #freeAtMs = Number.NEGATIVE_INFINITY;

  /** Null: as much as there is room for. */
  constructor(bytesPerSecond: number | null) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** ms to wait before these bytes; they count as sent then. */
  take(bytes: number, nowMs: number): number {
    if (this.#bytesPerSecond === null) return 0;
    const at = Math.max(this.#freeAtMs, nowMs - makeUpMs);
    this.#freeAtMs = at + (bytes / this.#bytesPerSecond) * 1000;
    return Math.max(0, at - nowMs);
  }
}

/**
 * One stream that leaves the LAN room: as fast as the way is free, and no faster than the owner allows. `hasAnswers`: its other
 * end says what it has taken; from one of before nothing is known, and TCP alone holds it back.
 */
export class PoliteSender {
  readonly #limit: RateLimit;
  readonly #window: SendWindow | null;
  #wake: () => void = () => {};

  constructor(limit: RateLimit, hasAnswers: boolean) {
    this.#limit = limit;
    this.#window = hasAnswers ? new SendWindow() : null;
  }

  /** How long the next piece may be. */
  get pieceBytes(): number {
    return this.#window?.pieceBytes ?? 64 << 10;
  }

  /** Returns when such a piece may go, which counts as sent then; rejects when it is given up. */
  async ready(bytes: number, signal: AbortSignal): Promise<void> {
    const ms = this.#limit.take(bytes, performance.now());
    if (ms >= 1) await sleep(ms, undefined, { signal });
    while (this.#window?.hasRoom(bytes) === false) {
      signal.throwIfAborted();
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          signal.removeEventListener('abort', wake);
          resolve();
        };
        this.#wake = wake;
        signal.addEventListener('abort', wake);
      });
    }
    signal.throwIfAborted();
    this.#window?.sent(bytes, performance.now());
  }

  /** The other end has taken so much of the stream. Throws when that cannot be. */
  acknowledged(total: number): void {
    this.#window?.acknowledged(total, performance.now());
    this.#wake();
  }
}
