import type { TimelineEvent, Usage } from '../../../protocol/history.ts';
import type { JobRow } from '../../../protocol/job-rows.ts';
import type { StatusSnapshot } from '../../../protocol/status.ts';
import { EventReader } from '../view/event-stream.ts';
import { type News, newsOf, type PageState, type Viewer } from '../view/page-state.ts';
import { leaseTimings, mayConnect, readLease, type TabLease } from '../view/tab-lease.ts';
import { AgentRefused, at, getJson, isOver } from './ask.ts';

interface LiveOptions {
  deliver(news: News): void;
  state(): PageState;
}

/** Without a byte for so long nobody is there: a sign of life comes each 15 s. */
const silentMs = 20_000;
const retryMs = { first: 250, most: 3_000, over: 30_000 } as const;
const usageEveryMs = 300_000;

/**
 * News of the agent, by one connection a browser: the tab that has the lease keeps it and tells the others. No tab that nobody
 * looks at has one.
 */
export class Live {
  readonly #deliver: LiveOptions['deliver'];
  readonly #state: LiveOptions['state'];
  readonly #tab = `${Date.now()}-${Math.random()}`;
  readonly #place = `autogit ${location.pathname}`;
  readonly #channel: BroadcastChannel | null = 'BroadcastChannel' in window ? new BroadcastChannel(this.#place) : null;
  #stream: AbortController | null = null;
  #isOver = false;
  #usageAtMs = 0;

  constructor({ deliver, state }: LiveOptions) {
    this.#deliver = deliver;
    this.#state = state;
  }

  start(): void {
    this.#channel?.addEventListener('message', ({ data }: MessageEvent<News | 'what is it'>) => this.#heard(data));
    document.addEventListener('visibilitychange', () => this.#look());
    window.addEventListener('pagehide', () => this.#rest());
    window.addEventListener('pageshow', () => this.#look());
    window.addEventListener('storage', () => this.#look());
    setInterval(() => this.#look(), leaseTimings.tickMs);
    this.#channel?.postMessage('what is it');
    this.#look();
  }

  /** The news of a tab that has the connection, or the question of one that has opened. */
  #heard(data: News | 'what is it'): void {
    if (data !== 'what is it') this.#deliver(data);
    else if (this.#stream) for (const news of newsOf(this.#state())) this.#channel?.postMessage(news);
  }

  /** Whether this tab shall have the connection now. */
  #look(): void {
    if (this.#isOver) return;
    if (document.visibilityState === 'hidden') {
      if (this.#stream || this.#state().link === 'live') this.#rest();
      return;
    }
    if (!this.#hasLease()) {
      this.#stream?.abort();
      this.#stream = null;
      // Whoever has it tells what there was while nobody looked here.
      if (this.#state().link === 'resting') this.#channel?.postMessage('what is it');
      return;
    }
    if (this.#stream === null) {
      this.#stream = new AbortController();
      // With the connection it is asked for, too.
      this.#usageAtMs = Date.now();
      void this.#keep(this.#stream.signal);
    } else if (Date.now() - this.#usageAtMs > usageEveryMs) void this.#askUsage(this.#stream.signal);
  }

  #rest(): void {
    this.#stream?.abort();
    this.#stream = null;
    this.#deliver({ kind: 'resting', atMs: Date.now() });
    try {
      if (readLease(localStorage.getItem(this.#place))?.tab === this.#tab) localStorage.removeItem(this.#place);
    } catch {
      // No storage: every tab has its own.
    }
  }

  /** Taken or prolonged where it may be. Without storage every tab has a connection of its own. */
  #hasLease(): boolean {
    try {
      const now = Date.now();
      if (!mayConnect(readLease(localStorage.getItem(this.#place)), this.#tab, now)) return false;
      const lease: TabLease = { tab: this.#tab, until: now + leaseTimings.holdMs };
      localStorage.setItem(this.#place, JSON.stringify(lease));
      return true;
    } catch {
      return true;
    }
  }

  #tell(news: News): void {
    this.#deliver(news);
    this.#channel?.postMessage(news);
  }

  async #keep(signal: AbortSignal): Promise<void> {
    for (let waitMs: number = retryMs.first; !signal.aborted; waitMs = Math.min(retryMs.most, 2 * waitMs)) {
      try {
        await this.#listen(signal, () => {
          waitMs = retryMs.first;
        });
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof AgentRefused && error.isOver) {
          this.#isOver = true;
          this.#tell({ kind: 'over', atMs: Date.now() });
          return;
        }
      }
      if (signal.aborted) return;
      this.#tell({ kind: 'lost', atMs: Date.now() });
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  }

  /** Until the connection ends, or nothing comes any more. */
  async #listen(signal: AbortSignal, opened: () => void): Promise<void> {
    const ending = new AbortController();
    const end = (): void => ending.abort();
    signal.addEventListener('abort', end, { once: true });
    let silence = setTimeout(end, silentMs);
    try {
      const answer = await fetch(at('events'), { cache: 'no-store', signal: ending.signal });
      if (isOver(answer)) throw new AgentRefused({ message: 'the session has ended', hint: null }, true);
      if (!answer.ok || answer.body === null) throw new Error(`${answer.status}`);
      opened();
      void this.#askAll(ending.signal);
      const pieces = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      const reader = new EventReader();
      // A function of its own: what waits for the next piece would keep all of the last one.
      const taken = async (): Promise<boolean> => {
        const { done, value } = await pieces.read();
        if (done) return false;
        clearTimeout(silence);
        silence = setTimeout(end, silentMs);
        this.#tell({ kind: 'heard', atMs: Date.now() });
        for (const { event, data } of reader.read(value)) this.#take(event, JSON.parse(data));
        return true;
      };
      while (await taken());
    } finally {
      clearTimeout(silence);
      ending.abort();
      signal.removeEventListener('abort', end);
    }
  }

  #take(event: string, data: unknown): void {
    if (event === 'status') this.#tell({ kind: 'status', status: data as StatusSnapshot, atMs: Date.now() });
    else if (event === 'jobs') this.#tell({ kind: 'jobs', rows: listIn<JobRow>(data, 'rows') });
    else if (event === 'timeline') this.#tell({ kind: 'timeline', events: listIn<TimelineEvent>(data, 'events') });
  }

  /** What the stream does not begin with; of what happened it has the newest alone. */
  async #askAll(signal: AbortSignal): Promise<void> {
    const asked: [string, (data: unknown) => News][] = [
      ['me', (me) => ({ kind: 'me', me: me as Viewer })],
      ['timeline', (data) => ({ kind: 'timeline', events: listIn<TimelineEvent>(data, 'events') })],
    ];
    const told = asked.map(async ([path, newsFrom]) => this.#tell(newsFrom(await getJson(path, signal))));
    await Promise.allSettled([...told, this.#askUsage(signal)]);
  }

  async #askUsage(signal: AbortSignal): Promise<void> {
    this.#usageAtMs = Date.now();
    try {
      this.#tell({ kind: 'usage', usage: await getJson<Usage>('usage', signal) });
    } catch {
      // Asked again with the next connection, or in five minutes.
    }
  }
}

function listIn<T>(data: unknown, key: string): T[] {
  const list = Array.isArray(data) ? data : (data as Record<string, unknown> | null)?.[key];
  return Array.isArray(list) ? (list as T[]) : [];
}
