import { AutogitError } from '../../protocol/errors.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import { parseDuration } from '../settings/quantities.ts';
import { agentOf, type Context } from './context.ts';
import { exit } from './failure.ts';
import { isAway, LiveScreen, quitOnKey } from './live-screen.ts';

/** ms until an agent that was away is asked again. */
const againMs = 500;

/** ms between two looks: `-w`, `-w 5`, `-w 500ms`. Null: look once. Throws `bad-flag`. */
export function watchMs(value: boolean | string | number | string[] | null): number | null {
  if (value === null || value === false) return null;
  if (value === true) return 2000;
  const ms = parseDuration(String(value));
  if (ms < 100) throw new AutogitError('bad-flag', '--watch: at least 100ms');
  return ms;
}

interface Looking {
  /** `isAnew`: the first time, and when the agent was away; what is known of before counts no more. */
  look(agent: AgentClient, isAnew: boolean): Promise<void>;
  /** Told again at every try. */
  away(error: AutogitError): void;
  /** ms between two looks, at least. */
  restMs: number;
}

/** Looks until `over`. Goes on when the agent goes and comes: a restart, an upgrade, Ctrl-Z. Without any agent at the beginning it fails. */
async function keepLooking(context: Context, over: AbortSignal, { look, away, restMs }: Looking): Promise<void> {
  let agent = await agentOf(context);
  for (let isAnew = true; !over.aborted; ) {
    try {
      await unless(over, look(agent, isAnew));
      isAnew = false;
    } catch (error) {
      if (!isAway(error)) throw error;
      away(error);
      isAnew = true;
      await pause(againMs, over);
      agent = await agentOf(context).catch(() => agent);
    }
    await pause(restMs, over);
  }
}

/** A picture after the other, until Ctrl-C, or `q` on a terminal. Completes with the exit code. */
export async function watchPicture(
  context: Context,
  restMs: number,
  picture: (agent: AgentClient, isAnew: boolean) => Promise<string>,
): Promise<number> {
  const signal = context.stop.told();
  const quit = new AbortController();
  const giveBack = quitOnKey(() => quit.abort());
  const screen = new LiveScreen(context.out);
  const over = AbortSignal.any([signal, quit.signal]);
  try {
    await keepLooking(context, over, {
      look: async (agent, isAnew) => {
        const text = await picture(agent, isAnew);
        if (!over.aborted) screen.show(text);
      },
      away: (error) => screen.away(error),
      restMs,
    });
  } finally {
    giveBack();
  }
  return signal.aborted ? exit.interrupted : exit.ok;
}

/** Lines as there is something new, until Ctrl-C; that the agent is away is a line too. Completes with the exit code. */
export async function watchLines(context: Context, look: Looking['look']): Promise<number> {
  let isTold = false;
  await keepLooking(context, context.stop.told(), {
    look: async (agent, isAnew) => {
      await look(agent, isAnew);
      isTold = false;
    },
    away: (error) => {
      if (!isTold) context.out.talk(`# waiting for the agent: ${error.message}`);
      isTold = true;
    },
    restMs: 0,
  });
  return exit.interrupted;
}

/** ms for this machine to hear what the mesh has committed, and what another one says of itself. */
export const hearsMs = 10_000;

/** What `look` finds in what the mesh says, at each change and each second; null when nobody watches any more. */
export async function foundIn<T>(
  { stop }: Context,
  agent: AgentClient,
  look: (snapshot: StatusSnapshot) => T | null,
): Promise<T | null> {
  const signal = stop.told();
  for (let tag = ''; !signal.aborted; ) {
    const news = await agent.status(tag === '' ? undefined : { tag, waitMs: 1_000 });
    tag = news.tag;
    const found = look(news.snapshot);
    if (found !== null) return found;
  }
  return null;
}

/** What ended without a word: an agent that is started anew knows nothing of what one of before was asked for. */
export const lostWords = 'the agent there was ended meanwhile';

/**
 * Why nothing more is heard of what GitLab's host `before` was asked to do: it was not heard for a minute, or another one hosts. Null
 * while it is there. A minute is as long as `status` waits before it calls a machine gone; one that comes back earlier goes on.
 */
export function whyGone({ gitlab, nodes }: StatusSnapshot, before: string | null): string | null {
  const row = nodes.find(({ node }) => node === gitlab.host);
  if (row !== undefined && gitlab.host !== before)
    return `${before} is not GitLab's host any more: ${gitlab.host} goes on with what it has`;
  return row?.state === 'gone' || (row === undefined && gitlab.host !== before)
    ? (gitlab.hosted?.because ?? `${before} does not answer`)
    : null;
}

/** To be told at each look whether something goes on; answers for how long, ms, nothing has, 0 while it does. */
export function quietTimer(): (isDoing: boolean) => number {
  let since: number | null = null;
  return (isDoing) => {
    since = isDoing ? null : (since ?? performance.now());
    return since === null ? 0 : performance.now() - since;
  };
}

/** Whoever stops watching stops nothing: the last words of a command that was told of Ctrl-C. Answers its exit code. */
export function stopsWatching({ settings, out }: Context, state: string, because: string): number {
  if (settings.isOn('json')) out.json({ state, because });
  else out.talk(because);
  return exit.interrupted;
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
