/** Those who wait until something happens. */
export class Waiters {
  readonly #waiting = new Set<() => void>();

  /** Resolves when it happens, after `withinMs`, or when `signal` aborts. */
  wait(withinMs: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const goOn = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', goOn);
        this.#waiting.delete(goOn);
        resolve();
      };
      const timer = setTimeout(goOn, withinMs);
      signal?.addEventListener('abort', goOn);
      this.#waiting.add(goOn);
    });
  }

  /** It happened. */
  wake(): void {
    for (const goOn of this.#waiting) goOn();
  }
}
