import { answersItself } from '../../gitlab-bridge/gitlab-runner.ts';

/**
 * When a GitLab that was away answers again. While anything here waits for it, it is looked for once a second by one
 * light call, so that results go out at once and not when the longest back-off has passed.
 */
export interface GitlabReturnOptions {
  /** Does GitLab itself answer? */
  answers(): Promise<boolean>;
  lookEveryMs?: number;
}

export class GitlabReturn {
  readonly #options: GitlabReturnOptions;
  readonly #waiting = new Set<() => void>();
  #timer: NodeJS.Timeout | null = null;
  /** Only a GitLab that was seen away can come back: one call that fails among many that do not wakes nobody. */
  #wasAway = false;

  constructor(options: GitlabReturnOptions) {
    this.#options = options;
  }

  /** Somebody got no answer. */
  away(): void {
    if (this.#timer !== null) return;
    this.#timer = setTimeout(() => void this.#look(), this.#options.lookEveryMs ?? 1_000);
    this.#timer.unref();
  }

  onBack(wake: () => void): () => void {
    this.#waiting.add(wake);
    return () => void this.#waiting.delete(wake);
  }

  /** Waits so long, until it is back, or until `signal`. */
  pause(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        forget();
        signal.removeEventListener('abort', end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      const forget = this.onBack(end);
      signal.addEventListener('abort', end);
    });
  }

  stop(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#waiting.clear();
  }

  async #look(): Promise<void> {
    const isThere = await this.#options.answers().catch(() => false);
    this.#timer = null;
    const isBack = isThere && this.#wasAway;
    this.#wasAway = !isThere;
    if (!isThere) this.away();
    if (isBack) for (const wake of [...this.#waiting]) wake();
  }
}

/** Of the GitLab that is connected now. */
export const returnOf = (urlNow: () => string | null | undefined): GitlabReturn =>
  new GitlabReturn({
    answers: async () => {
      const url = urlNow();
      return url ? answersItself(url, 1_500) : false;
    },
  });
