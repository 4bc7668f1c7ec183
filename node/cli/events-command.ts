import type { TimelineEvent } from '../../protocol/history.ts';
import { limits } from '../../protocol/limits.ts';
import { shown } from '../foreign-text.ts';
import { wrapped } from '../text-wrap.ts';
import { agentOf, type Context, type Output } from './context.ts';
import { exit } from './failure.ts';
import { isAway } from './live-screen.ts';
import { pause } from './status-command.ts';

const linesOnTerminal = 40;
const waitMs = 30_000;
const againMs = 500;

/** What happened in the mesh, the oldest first; `-f` goes on, also over a restart of the agent. */
export async function events(context: Context): Promise<number> {
  const { settings, out, signal } = context;
  const asJson = settings.isOn('json');
  const isFollowing = settings.isOn('events.follow');
  const most =
    settings.number('events.lines') ?? (out.isTerminal && !asJson ? linesOnTerminal : limits.timelineAnswered);
  let agent = await agentOf(context);
  const all = (await agent.timeline(null)).events;
  // Of 0 none, and with -f the new ones alone: slice(-0) would be all of them.
  const first = most === 0 ? [] : all.slice(-most);
  if (asJson && !isFollowing) out.json(first);
  else show(out, first, asJson);
  if (!isFollowing) {
    if (all.length === 0 && out.isTerminal && !asJson) out.talk('nothing has happened since this machine keeps watch');
    return exit.ok;
  }
  for (let last = all.at(-1)?.id ?? '0', isTold = false; !signal.aborted; ) {
    try {
      const more = (await agent.timeline(last, waitMs)).events;
      show(out, more, asJson);
      last = more.at(-1)?.id ?? last;
      isTold = false;
    } catch (error) {
      if (!isAway(error)) throw error;
      if (!isTold) out.talk(`# waiting for the agent: ${error.message}`);
      isTold = true;
      await pause(againMs, signal);
      agent = await agentOf(context).catch(() => agent);
    }
  }
  return exit.interrupted;
}

function show(out: Output, all: readonly TimelineEvent[], asJson: boolean): void {
  for (const event of all)
    out.data(asJson ? JSON.stringify(event) : out.isTerminal ? forPeople(event, out.columns) : forPipe(event));
}

const forPipe = ({ at, kind, severity, node, sentence, because }: TimelineEvent): string =>
  [at, kind, severity, node ?? '-', sentence, because ?? '-'].map(shown).join('\t');

/** `23:41:58 kang leads in term 12`, with the day where it is not today, and below it why. */
function forPeople({ at, severity, sentence, because }: TimelineEvent, columns: number): string {
  const time = new Date(at);
  const day = time.toDateString() === new Date().toDateString() ? '' : `${at.slice(0, 10)} `;
  const head = `${day}${time.toTimeString().slice(0, 8)} `;
  const word = severity === 'info' ? '' : `${severity}: `;
  const lines = wrapped(shown(`${word}${sentence}`), columns - head.length);
  const why = because === null ? [] : wrapped(shown(because), columns - head.length - 2).map((line) => `  ${line}`);
  const gap = ' '.repeat(head.length);
  return [...lines, ...why].map((line, index) => (index === 0 ? head : gap) + line).join('\n');
}
