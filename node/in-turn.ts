/** What must not be done twice at once: each work begins when all that were asked for before it have ended, well or not. */
export class InTurn {
  #last: Promise<unknown> = Promise.resolve();

  do<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work);
    this.#last = mine.catch(() => undefined);
    return mine;
  }

  /** All that was asked for until now has ended. */
  async over(): Promise<void> {
    await this.#last;
  }
}
