/** ms from one handshake of a stranger to the next, whoever they are: 50 a second cost some 5 % of a core, evenly. */
export const strangerGapMs = 20;

/**
 * Handshakes of machines at whose address no member is, one after the other with a gap: a stranger that opens dozens at once would
 * otherwise have them all in one turn of the event loop, and heartbeats late by the sum. Nobody is refused here: the limits on open and
 * pending connections are libp2p's, and its deadline of a handshake runs on meanwhile.
 */
export class StrangerPace {
  readonly #now: () => number;
  #freeAt = 0;
  #last: Promise<void> = Promise.resolve();

  /** `now`: monotonic ms. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Resolves when it may begin. What has ended while it waited takes no turn. */
  turn(isOpen: () => boolean): Promise<void> {
    this.#last = this.#last.then(async () => {
      if (!isOpen()) return;
      const ms = this.#freeAt - this.#now();
      if (ms > 0) await new Promise<void>((resolve) => setTimeout(resolve, ms).unref());
      if (isOpen()) this.#freeAt = this.#now() + strangerGapMs;
    });
    return this.#last;
  }
}
