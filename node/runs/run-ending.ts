import { warning } from './job-script.ts';
import { Gone, Halted, RunFailed } from './run-errors.ts';
import type { Verdict } from './run-progress.ts';
import type { TraceLog } from './trace-log.ts';

/** From the end of a run to the moment at which a part of it that does not end is left to itself. */
export const abandonMs = { preparing: 10_000, step: 25_000, artifacts: 5_000, place: 60_000 } as const;

/**
 * What ends a run before its script does: timeout, cancel, the mesh (gone), the agent's own end (halt). One signal for
 * whatever the run is doing; a part that does not obey it in its time is abandoned, and the trace says so.
 */
export class RunEnding {
  readonly #trace: TraceLog;
  readonly #halt = new AbortController();
  #signal = new AbortController();
  /** What the run was ended with; null while it was not. */
  verdict: Verdict | null = null;
  goneBecause: string | null = null;

  constructor(trace: TraceLog) {
    this.#trace = trace;
  }

  /** The mesh or GitLab has taken the run away, or the agent stops: nothing more is said or done in its name. */
  get isLeft(): boolean {
    return this.halted.aborted || this.goneBecause !== null;
  }

  /** For whatever the run is doing now: aborted when it must end, or the agent stops. */
  get signal(): AbortSignal {
    return this.#signal.signal;
  }

  get halted(): AbortSignal {
    return this.#halt.signal;
  }

  /** The first verdict stands; whatever runs now is ended. */
  end(verdict: Verdict): void {
    this.verdict ??= verdict;
    this.#signal.abort();
  }

  /** The run is not ours any more. */
  leave(because: string): void {
    this.goneBecause ??= because;
    this.#signal.abort();
  }

  halt(): void {
    this.#halt.abort();
    this.#signal.abort();
  }

  /** What has a time of its own begins: after_script, artifacts. */
  renew(): void {
    if (this.goneBecause !== null || this.halted.aborted) return;
    if (this.signal.aborted) this.#signal = new AbortController();
  }

  /** Throws what ended the run, if anything did. */
  check(): void {
    this.checkGone();
    if (this.signal.aborted && this.verdict !== null) throw new RunFailed('script', this.verdict.because);
  }

  checkGone(): void {
    if (this.halted.aborted) throw new Halted('the agent stops');
    if (this.goneBecause !== null) throw new Gone(this.goneBecause);
  }

  /** Waits for a part of the run, but no longer than the run is ours, and after its end no longer than `boundMs`. */
  async until<T>(what: string, work: Promise<T>, boundMs: number): Promise<T> {
    const { signal } = this;
    const result = await new Promise<T>((resolve, reject) => {
      let timer: NodeJS.Timeout | null = null;
      const abandon = (): void => {
        const because = `${what} did not end within ${Math.round(boundMs / 1000)} s and was abandoned`;
        if (!this.halted.aborted && this.goneBecause === null) this.#trace.say(warning(because));
        reject(new RunFailed('system', because));
      };
      const count = (): void => {
        timer ??= setTimeout(abandon, boundMs);
      };
      if (signal.aborted) count();
      signal.addEventListener('abort', count, { once: true });
      work.then(resolve, reject).finally(() => {
        if (timer) clearTimeout(timer);
        signal.removeEventListener('abort', count);
      });
    }).catch((error: unknown) => {
      this.checkGone();
      throw error;
    });
    this.checkGone();
    return result;
  }
}
