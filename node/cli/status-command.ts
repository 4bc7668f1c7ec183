import type { StatusSnapshot } from '../../protocol/status.ts';
import { agentOf, type Context } from './context.ts';
import { exit } from './failure.ts';
import { isUnhealthy, statusView } from './status-view.ts';
import { watchMs, watchPicture } from './watching.ts';

/** ms: however often something changes, a screen is not redrawn more often. */
const restMs = 200;

export const status = (context: Context): Promise<number> =>
  show(context, watchMs(context.settings.get('status.watch')), context.settings.text('status.output'));

export const watchStatus = (context: Context, everyMs: number): Promise<number> => show(context, everyMs, null);

async function show(context: Context, everyMs: number | null, form: string | null): Promise<number> {
  const { out, settings } = context;
  const wide = form === 'wide';
  const view = (snapshot: StatusSnapshot): string => {
    if (settings.isOn('json') || form === 'json') return JSON.stringify(snapshot, null, everyMs === null ? 2 : 0);
    return statusView(snapshot, { isTerminal: out.isTerminal, columns: out.columns, wide });
  };
  if (everyMs !== null) return watch(context, everyMs, view);
  const agent = await agentOf(context);
  const { snapshot } = await agent.status();
  out.data(view(snapshot));
  if ((await agent.phase()).phase === 'waiting') return exit.waiting;
  return settings.isOn('status.exitStatus') && isUnhealthy(snapshot) ? exit.unhealthy : exit.ok;
}

/** A new picture as soon as something changes, and after `everyMs` at the latest. */
function watch(context: Context, everyMs: number, view: (snapshot: StatusSnapshot) => string): Promise<number> {
  let tag = '';
  return watchPicture(context, restMs, async (agent, isAnew) => {
    const answer = await agent.status(isAnew ? undefined : { tag, waitMs: everyMs });
    tag = answer.tag;
    return view(answer.snapshot);
  });
}
