import { sentenceOf } from '../../protocol/errors.ts';
import type { JobRow } from '../../protocol/job-rows.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';

/** What is told, each whole: a page that missed some has the newest all the same. */
type Told = 'status' | 'jobs' | 'timeline';

interface EventSources {
  status(): Promise<StatusSnapshot>;
  jobs(): Promise<JobRow[]>;
  /** What happened after the event of that id (null: the newest), as soon as there is something, within a second. */
  happened(since: string | null): Promise<{ events: readonly { id: string }[] }>;
  /** Of what is told, as JSON: changes when something did that is not merely its age. */
  tagOfText(text: string): string;
  pulse(): readonly unknown[];
  /** Until the mesh decides something, or a machine tells of itself, at most so long. */
  happening(withinMs: number): Promise<void>;
  warn(sentence: string): void;
}

/**
 * ms, while somebody watches: how soon it is seen that nobody leads any more (a decision, and what a machine tells of its owner, is seen at once, several within the least together); how often figures are looked at, that are no decisions; jobs
 * where something was told, and where nothing was (why a job waits may change all the same, and a follower asks the leader for all of
 * them); what happens at once is told together; and what shows that the line lives.
 */
const eventTimes = {
  pulseMs: 100,
  leastMs: 50,
  figuresMs: 1_000,
  jobsLeastMs: 250,
  jobsMostMs: 5_000,
  togetherMs: 100,
  pingMs: 15_000,
} as const;

/** More than happen while a browser is away for a moment. */
const eventsTold = 50;

const never = Number.NEGATIVE_INFINITY;

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
  /** As they are written, for all who watch: made once. */
  readonly #texts = new Map<Told, Uint8Array>();
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
  async *watch(signal: AbortSignal): AsyncIterable<string | Uint8Array> {
    let wake = (): void => {};
    const watcher: Watcher = { due: new Set(this.#texts.keys()), wake: () => wake() };
    const ping = setInterval(() => this.#owe(watcher, 'ping'), eventTimes.pingMs);
    signal.addEventListener('abort', () => wake(), { once: true });
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
        if (watcher.due.size === 0 && !signal.aborted) await awake;
        for (const told of watcher.due) {
          watcher.due.delete(told);
          const text = told === 'ping' ? ': ping\n\n' : this.#texts.get(told);
          if (text !== undefined) yield text;
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
    const looked = {
      pulse: null as readonly unknown[] | null,
      statusAt: never,
      jobsAt: never,
      queue: '',
      isJobsDue: true,
    };
    // On its own: a leader that died does not answer, and its machine's page is to say so at once.
    let asking: Promise<unknown> | null = null;
    // Who comes while that is still asked for those who went is told all the same.
    while (this.#watchers.size > 0 || asking !== null) {
      const pulse = this.#sources.pulse();
      const hasChanged = pulse.some((one, index) => one !== looked.pulse?.[index]);
      looked.pulse = pulse;
      if (hasChanged || performance.now() - looked.statusAt >= eventTimes.figuresMs) {
        looked.statusAt = performance.now();
        const queue = JSON.stringify((await this.#tell('status', () => this.#sources.status()))?.queue ?? null);
        looked.isJobsDue ||= hasChanged || queue !== looked.queue;
        looked.queue = queue;
      }
      const sinceJobs = performance.now() - looked.jobsAt;
      const mayAsk = asking === null && this.#watchers.size > 0;
      if (mayAsk && sinceJobs >= (looked.isJobsDue ? eventTimes.jobsLeastMs : eventTimes.jobsMostMs)) {
        [looked.isJobsDue, looked.jobsAt] = [false, performance.now()];
        asking = this.#tell('jobs', async () => ({ rows: await this.#sources.jobs() })).finally(() => {
          asking = null;
        });
      }
      await this.#sources.happening(eventTimes.pulseMs);
      // Of many decisions in a row the last is told.
      const leftMs = eventTimes.leastMs - (performance.now() - looked.statusAt);
      if (leftMs > 0) await new Promise((resolve) => setTimeout(resolve, leftMs));
    }
    for (const told of ['status', 'jobs'] as const) {
      this.#texts.delete(told);
      this.#tags.delete(told);
    }
    this.#looking = this.#watchers.size > 0 ? this.#look() : null;
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
      await new Promise((resolve) => setTimeout(resolve, eventTimes.togetherMs));
    }
    this.#texts.delete('timeline');
    this.#tags.delete('timeline');
    this.#following = this.#watchers.size > 0 ? this.#follow() : null;
  }

  /** What cannot be told now (it is in no mesh yet) is told as soon as it can be. */
  async #tell<T>(told: Told, look: () => Promise<T>): Promise<T | null> {
    try {
      const value = await look();
      const text = JSON.stringify(value);
      const tag = this.#sources.tagOfText(text);
      this.#problem = null;
      if (this.#tags.get(told) === tag) return value;
      this.#tags.set(told, tag);
      this.#texts.set(told, Buffer.from(`event: ${told}\ndata: ${text}\n\n`));
      for (const watcher of this.#watchers) this.#owe(watcher, told);
      return value;
    } catch (error) {
      const problem = sentenceOf(error);
      if (problem !== this.#problem) this.#sources.warn(`the page is told nothing of ${told}: ${problem}`);
      this.#problem = problem;
      return null;
    }
  }
}
