/** Bytes and ms; docs/hosting.md has where they come from. */
export const windowLimits = {
  leastBytes: 16 << 10,
  firstBytes: 64 << 10,
  mostBytes: 32 << 20,
  /** CoDel's own figures (RFC 8289): what stands in a queue for all of an interval, and is longer than this, is no burst. */
  targetMs: 5,
  intervalMs: 100,
  /** One piece that was lucky or unlucky decides nothing. */
  leastSamples: 4,
  /** The way itself is measured anew, without a queue of ours: else a queue that stands for long is taken for the way (LEDBAT++). */
  measureEveryMs: 30_000,
} as const;

/**
 * How much may be on its way to another machine so that nothing of it stands in a queue before what others send there. Each
 * piece is acknowledged when it was taken there: how long that took beyond the quickest is the queue, wherever it stands. A
 * short one lets the window grow, a long one shrinks it (LEDBAT, RFC 6817, with a lower target), so that it finds what the way
 * carries by itself, gives way to whatever else fills it, and needs no figure from anybody. Pure: each call says the time, ms.
 */
export class SendWindow {
  #bytes: number = windowLimits.firstBytes;
  /** What it goes back to after a measurement. */
  #kept: number | null = null;
  #sent = 0;
  #acknowledged = 0;
  /** Of each piece its end in the stream, and when it was sent. */
  #pieces: { until: number; atMs: number }[] = [];
  #wayMs = Number.POSITIVE_INFINITY;
  #shortestMs = Number.POSITIVE_INFINITY;
  #samples = 0;
  #sinceMs = 0;
  #measuredMs: number | null = null;
  #wasUsed = false;
  /** It has been as large as the way is. */
  #hasFound = false;

  /** How much at most. */
  get bytes(): number {
    return this.#bytes;
  }

  get onTheWay(): number {
    return this.#sent - this.#acknowledged;
  }

  /** Small enough that several are on their way at once: each is a look at the queue. */
  get pieceBytes(): number {
    return Math.max(windowLimits.leastBytes / 2, Math.min(64 << 10, Math.floor(this.#bytes / 4)));
  }

  /** Whether a piece may go now. */
  hasRoom(bytes: number): boolean {
    return this.onTheWay === 0 || this.onTheWay + bytes <= this.#bytes;
  }

  sent(bytes: number, atMs: number): void {
    if (this.#measuredMs === null) this.#measuredMs = this.#sinceMs = atMs;
    this.#sent += bytes;
    this.#wasUsed ||= 2 * this.onTheWay >= this.#bytes;
    this.#pieces.push({ until: this.#sent, atMs });
  }

  /** Of the stream so far. Throws when that cannot be. */
  acknowledged(total: number, atMs: number): void {
    if (!Number.isSafeInteger(total) || total < this.#acknowledged || total > this.#sent)
      throw new Error('the standby acknowledged what was not sent');
    this.#acknowledged = total;
    let newest: number | null = null;
    let done = 0;
    for (const piece of this.#pieces) {
      if (piece.until > total) break;
      newest = piece.atMs;
      done += 1;
    }
    if (newest === null) return;
    this.#pieces.splice(0, done);
    this.#samples += 1;
    this.#shortestMs = Math.min(this.#shortestMs, atMs - newest);
    this.#wayMs = Math.min(this.#wayMs, atMs - newest);
    // What a change did is seen one way later.
    const intervalMs = Math.max(windowLimits.intervalMs, 4 * this.#wayMs);
    if (this.#samples >= windowLimits.leastSamples && atMs - this.#sinceMs >= intervalMs) this.#turn(atMs);
  }

  #factor(): number {
    const { targetMs } = windowLimits;
    const queueMs = this.#shortestMs - this.#wayMs;
    if (queueMs > targetMs) {
      this.#hasFound = true;
      return Math.max(0.5, (this.#wayMs + targetMs) / this.#shortestMs);
    }
    // It grows only with what is sent: else it would say nothing of the way.
    if (!this.#wasUsed) return 1;
    return 1 + (this.#hasFound ? 0.5 : 1) * (1 - queueMs / targetMs);
  }

  /** An interval is over. */
  #turn(atMs: number): void {
    if (this.#kept !== null) {
      this.#wayMs = this.#shortestMs;
      this.#bytes = this.#kept;
      this.#kept = null;
      this.#measuredMs = atMs;
    } else {
      this.#bytes = clamp(this.#bytes * this.#factor());
      if (atMs - (this.#measuredMs as number) >= windowLimits.measureEveryMs) {
        this.#kept = this.#bytes;
        this.#bytes = windowLimits.leastBytes;
      }
    }
    this.#sinceMs = atMs;
    this.#samples = 0;
    this.#shortestMs = Number.POSITIVE_INFINITY;
    this.#wasUsed = false;
  }
}

const clamp = (bytes: number): number =>
  Math.round(Math.min(windowLimits.mostBytes, Math.max(windowLimits.leastBytes, bytes)));
