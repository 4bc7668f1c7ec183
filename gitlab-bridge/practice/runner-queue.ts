import { fits } from './job-queue.ts';
import type { State } from './practice-state.ts';
import type { Job, Runner } from './records.ts';
import { newQueueValue } from './secrets.ts';

/**
 * `X-GitLab-Last-Update`: one value a runner, changed whenever a job that it may take becomes pending (or the runner
 * itself is changed). Long polls watch it. Kept in memory, as GitLab keeps it in Redis.
 */
export class RunnerQueue {
  private readonly values = new Map<number, string>();
  private readonly waiting = new Map<number, Set<() => void>>();
  private readonly state: State;

  constructor(state: State) {
    this.state = state;
    state.jobChanged.push((job) => {
      if (job.status === 'pending') this.tickFor(job);
    });
  }

  value(runner: Runner): string {
    let value = this.values.get(runner.id);
    if (value === undefined) {
      value = newQueueValue();
      this.values.set(runner.id, value);
    }
    return value;
  }

  tick(runner: Runner): void {
    this.values.set(runner.id, newQueueValue());
    for (const wake of this.waiting.get(runner.id) ?? []) wake();
  }

  /** Resolves `changed` when the value moves while waiting, `timeout` after `ms`, `gone` when the signal aborts. */
  watch(runner: Runner, ms: number, signal: AbortSignal): Promise<'changed' | 'timeout' | 'gone'> {
    return new Promise((resolve) => {
      const set = this.waiting.get(runner.id) ?? new Set();
      this.waiting.set(runner.id, set);
      const end = (outcome: 'changed' | 'timeout' | 'gone'): void => {
        clearTimeout(timer);
        set.delete(wake);
        signal.removeEventListener('abort', gone);
        resolve(outcome);
      };
      const wake = (): void => end('changed');
      const gone = (): void => end('gone');
      const timer = setTimeout(() => end('timeout'), ms);
      set.add(wake);
      signal.addEventListener('abort', gone);
      if (signal.aborted) gone();
    });
  }

  private tickFor(job: Job): void {
    for (const runner of this.state.runners()) if (fits(runner, job, this.state)) this.tick(runner);
  }
}
