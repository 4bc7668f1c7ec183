/** Lets whoever shows the mesh wait until its ledger changes. */
export class NextCommit {
  readonly #waiting = new Set<() => void>();

  /** Resolves at the next commit, after `withinMs`, or when `signal` aborts. */
  wait(withinMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const goOn = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', goOn);
        this.#waiting.delete(goOn);
        resolve();
      };
      const timer = setTimeout(goOn, withinMs);
      signal.addEventListener('abort', goOn);
      this.#waiting.add(goOn);
    });
  }

  committed(): void {
    for (const goOn of this.#waiting) goOn();
  }
}
