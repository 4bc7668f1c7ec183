import { AutogitError } from '../../protocol/errors.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { parseDuration } from '../settings/quantities.ts';
import { agentOf, type Context } from './context.ts';
import { exit } from './failure.ts';
import { isAway, LiveScreen, quitOnKey } from './live-screen.ts';
import { isUnhealthy, statusView } from './status-view.ts';

/** Seconds between two looks: `-w`, `-w 5`, `-w 500ms`. Null: look once. */
export function watchMs(value: boolean | string | number | string[] | null): number | null {
  if (value === null || value === false) return null;
  if (value === true) return 2000;
  const ms = parseDuration(String(value));
  if (ms < 100) throw new AutogitError('bad-flag', '--watch: at least 100ms');
  return ms;
}

export const status = (context: Context): Promise<number> =>
  show(context, watchMs(context.settings.get('status.watch')), context.settings.text('status.output') === 'wide');

export const watchStatus = (context: Context, everyMs: number): Promise<number> => show(context, everyMs, false);

async function show(context: Context, everyMs: number | null, wide: boolean): Promise<number> {
  const { out, settings } = context;
  const view = (snapshot: StatusSnapshot): string => {
    if (settings.isOn('json')) return JSON.stringify(snapshot, null, everyMs === null ? 2 : 0);
    return statusView(snapshot, { isTerminal: out.isTerminal, columns: out.columns, wide });
  };
  if (everyMs !== null) return watch(context, everyMs, view);
  const agent = await agentOf(context);
  const { snapshot } = await agent.status();
  out.data(view(snapshot));
  if ((await agent.phase()).phase === 'waiting') return exit.waiting;
  return settings.isOn('status.exitStatus') && isUnhealthy(snapshot) ? exit.unhealthy : exit.ok;
}

/** Goes on when the agent goes and comes: a restart, an upgrade, Ctrl-Z. Without any agent at the beginning it fails. */
async function watch(context: Context, everyMs: number, view: (snapshot: StatusSnapshot) => string): Promise<number> {
  const { out, signal } = context;
  const quit = new AbortController();
  const giveBack = quitOnKey(() => quit.abort());
  const screen = new LiveScreen(out);
  const over = AbortSignal.any([signal, quit.signal]);
  try {
    let agent = await agentOf(context);
    for (let tag: string | null = null; !over.aborted; ) {
      try {
        const answer: Awaited<ReturnType<typeof agent.status>> | null = await unless(
          over,
          agent.status(tag === null ? undefined : { tag, waitMs: everyMs }),
        );
        if (answer === null) break;
        screen.show(view(answer.snapshot));
        tag = answer.tag;
      } catch (error) {
        if (!isAway(error)) throw error;
        screen.away(error);
        tag = null;
        await pause(500, over);
        agent = await agentOf(context).catch(() => agent);
      }
      await pause(200, over);
    }
  } finally {
    giveBack();
  }
  return signal.aborted ? exit.interrupted : exit.ok;
}

/** What comes of it; null: the signal came first. Nothing is left at the signal, which outlives many of these. */
export function unless<T>(signal: AbortSignal, promise: Promise<T>): Promise<T | null> {
  return new Promise((resolve, reject) => {
    const over = (): void => resolve(null);
    if (signal.aborted) over();
    signal.addEventListener('abort', over, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', over));
  });
}

/** Waits, unless Ctrl-C comes first. */
export const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
  });
