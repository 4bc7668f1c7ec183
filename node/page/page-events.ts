import { once } from 'node:events';
import type { JobRow } from '../../protocol/job-rows.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';

/** What is told, each whole: a page that missed some has the newest all the same. */
type Told = 'status' | 'jobs' | 'timeline';

interface EventSources {
  status(): Promise<StatusSnapshot>;
  jobs(): Promise<JobRow[]>;
  /** What happened after the event of that id (null: the newest), as soon as there is something, within a second. */
  happened(since: string | null): Promise<{ events: readonly { id: string }[] }>;
  /** Changes when something did that is not merely its age. */
  tagOf(value: unknown): string;
  /** What one ledger after the other is committed is news of jobs. */
  committed(withinMs: number, signal: AbortSignal): Promise<void>;
  warn(sentence: string): void;
}

/** ms: how often the mesh is looked at while somebody watches; jobs that nothing hints at; and what shows that the line lives. */
const eventTimes = { lookMs: 100, jobsMs: 2_000, pingMs: 15_000 } as const;

/** More than happen while a browser is away for a moment. */
const eventsTold = 50;

interface Watcher {
  due: Set<Told | 'ping'>;
  wake(): void;
}

/**
 * One look for all who watch, and none where nobody does. A slow reader holds nothing up and costs nothing: of each kind only the
 * newest waits for it.
 */
export class PageEvents {
  readonly #sources: EventSources;
  readonly #watchers = new Set<Watcher>();
  readonly #texts = new Map<Told, string>();
  readonly #tags = new Map<Told, string>();
  #looking: Promise<void> | null = null;
  #following: Promise<void> | null = null;
  #problem: string | null = null;

  constructor(sources: EventSources) {
    this.#sources = sources;
  }

  get watchers(): number {
    return this.#watchers.size;
  }

  /** Text of server-sent events until the signal aborts. */
  async *watch(signal: AbortSignal): AsyncIterable<string> {
    let wake = (): void => {};
    const watcher: Watcher = { due: new Set(this.#texts.keys()), wake: () => wake() };
    const ping = setInterval(() => this.#owe(watcher, 'ping'), eventTimes.pingMs);
    const over = once(signal, 'abort').catch(() => {});
    this.#watchers.add(watcher);
    this.#looking ??= this.#look();
    this.#following ??= this.#follow();
    try {
      // The browser tries again after so long when the line breaks: also when this agent is started anew.
      yield 'retry: 1000\n\n';
      while (!signal.aborted) {
        const awake = new Promise<void>((resolve) => {
          wake = resolve;
        });
        if (watcher.due.size === 0) await Promise.race([awake, over]);
        for (const told of watcher.due) {
          watcher.due.delete(told);
          if (told === 'ping') yield ': ping\n\n';
          else yield this.#texts.get(told) as string;
          if (signal.aborted) return;
        }
      }
    } finally {
      clearInterval(ping);
      this.#watchers.delete(watcher);
    }
  }

  #owe(watcher: Watcher, told: Told | 'ping'): void {
    watcher.due.add(told);
    watcher.wake();
  }

  async #look(): Promise<void> {
    let jobsAt = Number.NEGATIVE_INFINITY;
    let queue = '';
    let isCommitted = false;
    const gone = new AbortController();
    const commits = async (): Promise<void> => {
      while (this.#watchers.size > 0) {
        await this.#sources.committed(1_000, gone.signal);
        isCommitted = true;
      }
    };
    const following = commits().catch(() => {});
    try {
      while (this.#watchers.size > 0) {
        const status = await this.#tell('status', () => this.#sources.status());
        const now = JSON.stringify(status?.queue);
        if (isCommitted || now !== queue || performance.now() - jobsAt > eventTimes.jobsMs) {
          [isCommitted, queue, jobsAt] = [false, now, performance.now()];
          await this.#tell('jobs', async () => ({ rows: await this.#sources.jobs() }));
        }
        await new Promise((resolve) => setTimeout(resolve, eventTimes.lookMs));
      }
    } finally {
      gone.abort();
      await following;
      this.#texts.clear();
      this.#tags.clear();
      this.#looking = this.#watchers.size > 0 ? this.#look() : null;
    }
  }

  /** What happens is told as it does, the newest of it whole: who asks for all when he comes misses nothing. */
  async #follow(): Promise<void> {
    let newest: { id: string }[] = [];
    while (this.#watchers.size > 0) {
      const said = await this.#sources.happened(newest.at(-1)?.id ?? null).catch(() => null);
      if (said !== null && said.events.length > 0) {
        newest = [...newest, ...said.events].slice(-eventsTold);
        await this.#tell('timeline', async () => ({ events: newest }));
      }
      // What comes at once is told together; and whoever cannot be asked is not asked without a pause.
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    this.#following = null;
  }

  /** What cannot be told now (it is in no mesh yet) is told as soon as it can be. */
  async #tell<T>(told: Told, look: () => Promise<T>): Promise<T | null> {
    try {
      const value = await look();
      const tag = this.#sources.tagOf(value);
      this.#problem = null;
      if (this.#tags.get(told) === tag) return value;
      this.#tags.set(told, tag);
      this.#texts.set(told, `event: ${told}\ndata: ${JSON.stringify(value)}\n\n`);
      for (const watcher of this.#watchers) this.#owe(watcher, told);
      return value;
    } catch (error) {
      const problem = (error as Error).message;
      if (problem !== this.#problem) this.#sources.warn(`the page is told nothing of ${told}: ${problem}`);
      this.#problem = problem;
      return null;
    }
  }
}
