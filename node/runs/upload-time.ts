/** The time that a job's artifacts have: what is left of the job's own, and not what GitLab was away for. */
export class UploadTime {
  readonly #bootMs: () => number;
  #sinceMs: number | null = null;
  #awaySinceMs: number | null = null;
  #awayMs = 0;

  constructor(bootMs: () => number) {
    this.#bootMs = bootMs;
  }

  begin(): void {
    this.#sinceMs ??= this.#bootMs();
  }

  away(isAway: boolean): void {
    if (this.#sinceMs === null) return;
    if (isAway) this.#awaySinceMs ??= this.#bootMs();
    else if (this.#awaySinceMs !== null) {
      this.#awayMs += this.#bootMs() - this.#awaySinceMs;
      this.#awaySinceMs = null;
    }
  }

  /** `jobEndMs`: when the job's own time ends. A job that has ended otherwise may have used it up, and has some more. */
  isOver(jobEndMs: number, isSuccess: boolean): boolean {
    if (this.#sinceMs === null || this.#awaySinceMs !== null) return false;
    const leastMs = isSuccess ? leastUploadMs.success : leastUploadMs.ended;
    return this.#bootMs() >= Math.max(jobEndMs, this.#sinceMs + leastMs) + this.#awayMs;
  }
}

const leastUploadMs = { success: 30_000, ended: 5 * 60_000 } as const;
