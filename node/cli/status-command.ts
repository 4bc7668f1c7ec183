import { AutogitError } from '../../protocol/errors.ts';
import { parseDuration } from '../quantities.ts';
import { agentOf, type Context } from './context.ts';
import { exit } from './failure.ts';
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

export const top = (context: Context): Promise<number> => show(context, 1000, false);

async function show(context: Context, everyMs: number | null, wide: boolean): Promise<number> {
  const { out, settings, signal } = context;
  const agent = await agentOf(context);
  let tag: string | null = null;
  for (;;) {
    const answer = await agent.status(tag === null || everyMs === null ? undefined : { tag, waitMs: everyMs });
    if (everyMs !== null) out.restart();
    if (settings.isOn('json'))
      out.data(everyMs === null ? JSON.stringify(answer.snapshot, null, 2) : JSON.stringify(answer.snapshot));
    else out.data(statusView(answer.snapshot, { isTerminal: out.isTerminal, columns: out.columns, wide }));
    if (everyMs === null) {
      if ((await agent.phase()).phase === 'waiting') return exit.waiting;
      return settings.isOn('status.exitStatus') && isUnhealthy(answer.snapshot) ? exit.unhealthy : exit.ok;
    }
    tag = answer.tag;
    await pause(200, signal);
    if (signal.aborted) return exit.interrupted;
  }
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
