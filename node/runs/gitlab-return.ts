import { answersItself } from '../../gitlab-bridge/gitlab-runner.ts';

/**
 * When a GitLab that was away answers again. While anything here waits for it, it is looked for once a second by one
 * light call, so that results go out at once and not when the longest back-off has passed.
 */
interface GitlabReturnOptions {
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
  #isStopped = false;
  /** Since when it has not answered a single time, in ms of performance.now. */
  #awaySinceMs: number | null = null;

  constructor(options: GitlabReturnOptions) {
    this.#options = options;
  }

  /** Somebody got no answer. */
  away(): void {
    if (this.#timer !== null) return;
    this.#timer = setTimeout(() => void this.#look(), this.#options.lookEveryMs ?? 1_000);
    this.#timer.unref();
  }

  /** ms for which it has not answered, as far as it was asked; 0 when it answered last. */
  get awayMs(): number {
    return this.#awaySinceMs === null ? 0 : performance.now() - this.#awaySinceMs;
  }

  /** Asks it now, unless that is about to happen. */
  look(): void {
    if (this.#timer === null) void this.#look();
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
    this.#isStopped = true;
  }

  async #look(): Promise<void> {
    const isThere = await this.#options.answers().catch(() => false);
    this.#timer = null;
    if (this.#isStopped) return;
    const isBack = isThere && this.#wasAway;
    this.#wasAway = !isThere;
    this.#awaySinceMs = isThere ? null : (this.#awaySinceMs ?? performance.now());
    if (!isThere) this.away();
    if (isBack) for (const wake of [...this.#waiting]) wake();
  }
}

/** A restart of GitLab, or a slow moment of it, is no news: its jobs wait anyway. */
const unreachableMs = 30_000;

/** Why this machine can begin no job: the leader may well hear GitLab where this machine does not. */
export const gitlabProblem = (
  { awayMs }: Pick<GitlabReturn, 'awayMs'>,
  url: string | null | undefined,
  limitMs: number = unreachableMs,
): string | null => (url && awayMs >= limitMs ? `GitLab (${url}) does not answer this machine` : null);

/** Of the GitLab that is connected now. */
export const returnOf = (urlNow: () => string | null | undefined): GitlabReturn =>
  new GitlabReturn({
    answers: async () => {
      const url = urlNow();
      return url ? answersItself(url, 1_500) : true;
    },
  });
