/**
 * When to ask again for something that failed: nothing that failed once is given up for good. Counted in looks: after
 * the first failure one is left out, then two, four, and so on, at most thirty (five minutes at a look every 10 s).
 */
export class AskAgain {
  #failures = 0;
  #leaveOut = 0;

  /** True when it is to be asked at this look. */
  isDue(): boolean {
    if (this.#leaveOut === 0) return true;
    this.#leaveOut--;
    return false;
  }

  answered(ok: boolean): void {
    this.#failures = ok ? 0 : this.#failures + 1;
    this.#leaveOut = ok ? 0 : Math.min(30, 2 ** (this.#failures - 1));
  }
}
