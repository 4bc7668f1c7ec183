import { sentenceOf } from '../../protocol/errors.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import { showDuration } from '../settings/quantities.ts';
import { agentOf, type Context } from './context.ts';
import { exit } from './failure.ts';
import { whyView } from './jobs-view.ts';
import { isAway, onKeys } from './live-screen.ts';
import { watchStatus } from './status-command.ts';
import { afterKey, firstTop, keysIn, type TopState } from './top-state.ts';
import { type TopLine, type TopSeen, topView } from './top-view.ts';
import { pause, unless } from './watching.ts';

const everyMs = 1_000;
/** Events of the lower half. */
const eventsMost = 200;
/** So much of a trace is kept to be shown: more than the largest terminal has. */
const traceChars = 64_000;

/** A live screen on a terminal; in a pipe a snapshot each second, as of `status -w 1`. */
export async function top(context: Context): Promise<number> {
  const { settings, out } = context;
  const isScreen = out.isTerminal && process.stdin.isTTY && !settings.isOn('json');
  return isScreen ? new TopScreen(context).run() : watchStatus(context, everyMs);
}

/** A screen of its own, without a cursor: what stood in the terminal is there again at the end. */
const enterScreen = '\u001b[?1049h\u001b[?25l';
const leaveScreen = '\u001b[?25h\u001b[?1049l';

const looks: Readonly<Record<TopLine['look'], [number, number] | null>> = {
  plain: null,
  head: [7, 27],
  chosen: [7, 27],
  bad: [31, 39],
  dim: [2, 22],
};

/** Draws what the agent answers, each second and after each key; over a restart of the agent it goes on. */
class TopScreen {
  readonly #context: Context;
  readonly #quit = new AbortController();
  #state: TopState = firstTop;
  #seen: TopSeen | null = null;
  #seenAt = 0;
  #job: number | null = null;
  #lastEvent: string | null = null;
  #agent: AgentClient | null = null;
  /** Ended when its trace is not looked at any more. */
  #tracing: AbortController | null = null;

  constructor(context: Context) {
    this.#context = context;
  }

  async run(): Promise<number> {
    const signal = this.#context.stop.told();
    const over = AbortSignal.any([signal, this.#quit.signal]);
    this.#agent = await agentOf(this.#context);
    const giveBack = onKeys((text) => this.#typed(text));
    const draw = (): void => this.#draw();
    process.stdout.on('resize', draw);
    process.stdout.write(enterScreen);
    try {
      while (!over.aborted) {
        if (!this.#state.isFrozen || this.#seen === null) await unless(over, this.#look());
        this.#draw();
        await pause(everyMs, over);
      }
    } finally {
      this.#tracing?.abort();
      process.stdout.off('resize', draw);
      process.stdout.write(leaveScreen);
      giveBack();
    }
    return signal.aborted ? exit.interrupted : exit.ok;
  }

  async #look(): Promise<void> {
    try {
      const agent = this.#agent as AgentClient;
      const { snapshot } = await agent.status();
      const jobs = await agent.jobs(false);
      const { events } = await agent.timeline(this.#lastEvent);
      this.#lastEvent = events.at(-1)?.id ?? this.#lastEvent ?? '0';
      const before = this.#seen;
      const all = [...(before?.events ?? []), ...events].slice(-eventsMost);
      this.#seen = { snapshot, jobs, events: all, why: before?.why ?? [], trace: before?.trace ?? '', away: null };
      this.#seenAt = performance.now();
    } catch (error) {
      if (!isAway(error)) throw error;
      const age = showDuration(performance.now() - this.#seenAt);
      if (this.#seen)
        this.#seen = { ...this.#seen, away: `waiting for the agent: ${error.message}; this is ${age} old` };
      this.#agent = await agentOf(this.#context).catch(() => this.#agent);
    }
  }

  #typed(text: string): void {
    // Ctrl-Z: the shell gets its screen back meanwhile.
    if (text.includes('\u001a')) {
      process.stdout.write(leaveScreen);
      process.once('SIGCONT', () => {
        process.stdout.write(enterScreen);
        this.#draw();
      });
      return;
    }
    for (const key of keysIn(text)) {
      const { state, wish } = afterKey(this.#state, key, Math.max(1, this.#rows - 10));
      this.#state = state;
      if (wish === 'quit') return this.#quit.abort();
      if (wish === 'why' && this.#job !== null) void this.#why(this.#job);
      if (wish === 'trace' && this.#job !== null) void this.#trace(this.#job);
      if (this.#state.trace === null) this.#tracing?.abort();
    }
    this.#draw();
  }

  async #why(job: number): Promise<void> {
    const said = await this.#agent?.why(job).catch(() => null);
    if (!this.#seen) return;
    const columns = this.#context.out.columns;
    const text = said ? whyView(said, { isTerminal: true, columns }) : `nothing is known of job ${job} any more`;
    this.#seen = { ...this.#seen, why: text.split('\n') };
    this.#state = { ...this.#state, why: job };
    this.#draw();
  }

  /** Until it ends, or another key is pressed. */
  async #trace(job: number): Promise<void> {
    if (!this.#seen || !this.#agent) return;
    this.#tracing?.abort();
    const tracing = new AbortController();
    this.#tracing = tracing;
    this.#seen = { ...this.#seen, trace: '' };
    this.#state = { ...this.#state, trace: job };
    const add = (text: string): void => {
      if (tracing.signal.aborted || !this.#seen) return;
      this.#seen = { ...this.#seen, trace: (this.#seen.trace + text).slice(-traceChars) };
      this.#draw();
    };
    try {
      for await (const text of this.#agent.logs({ job, node: null, follow: true }, tracing.signal)) add(text);
    } catch (error) {
      add(`\n${sentenceOf(error)}\n`);
    }
  }

  get #rows(): number {
    return process.stdout.rows ?? 24;
  }

  #draw(): void {
    if (this.#seen === null || this.#quit.signal.aborted) return;
    const columns = process.stdout.columns ?? this.#context.out.columns;
    const { lines, job } = topView(this.#seen, this.#state, { columns, rows: this.#rows, now: Date.now() });
    this.#job = job;
    const isPlain = !this.#context.settings.isOn('color') || process.env.NO_COLOR;
    const drawn = lines.map(({ text, look }) => {
      const codes = looks[look];
      // What is chosen has to be seen without colour too.
      const isDrawn = codes !== null && (!isPlain || look === 'chosen' || look === 'head');
      const full = look === 'chosen' || look === 'head' ? text.padEnd(columns) : text;
      return `${isDrawn ? `\u001b[${codes[0]}m${full}\u001b[${codes[1]}m` : text}\u001b[K`;
    });
    process.stdout.write(`\u001b[H${drawn.join('\r\n')}\u001b[J`);
  }
}
