import type { TimelineEvent } from '../../protocol/history.ts';
import { limits } from '../../protocol/limits.ts';
import { shown } from '../foreign-text.ts';
import { wrapped } from '../text-wrap.ts';
import { agentOf, type Context, type Output } from './context.ts';
import { exit } from './failure.ts';
import { shortTime } from './local-time.ts';
import { watchLines } from './watching.ts';

const linesOnTerminal = 40;
const waitMs = 30_000;

/** What happened in the mesh, the oldest first; `-f` goes on, also over a restart of the agent. */
export async function events(context: Context): Promise<number> {
  const { settings, out } = context;
  const asJson = settings.isOn('json');
  const isFollowing = settings.isOn('events.follow');
  const most =
    settings.number('events.lines') ?? (out.isTerminal && !asJson ? linesOnTerminal : limits.timelineAnswered);
  const all = (await (await agentOf(context)).timeline(null)).events;
  // Of 0 none, and with -f the new ones alone: slice(-0) would be all of them.
  const first = most === 0 ? [] : all.slice(-most);
  if (asJson && !isFollowing) out.json(first);
  else show(out, first, asJson);
  if (!isFollowing) {
    if (all.length === 0 && out.isTerminal && !asJson) out.talk('nothing has happened since this machine keeps watch');
    return exit.ok;
  }
  let last = all.at(-1)?.id ?? '0';
  return watchLines(context, async (agent) => {
    const more = (await agent.timeline(last, waitMs)).events;
    show(out, more, asJson);
    last = more.at(-1)?.id ?? last;
  });
}

function show(out: Output, all: readonly TimelineEvent[], asJson: boolean): void {
  for (const event of all)
    out.data(asJson ? JSON.stringify(event) : out.isTerminal ? forPeople(event, out.columns) : forPipe(event));
}

const forPipe = ({ at, kind, severity, node, sentence, because }: TimelineEvent): string =>
  [at, kind, severity, node ?? '-', sentence, because ?? '-'].map(shown).join('\t');

/** `23:41:58 kang leads in term 12`, with the day where it is not today, and below it why. */
function forPeople({ at, severity, sentence, because }: TimelineEvent, columns: number): string {
  const head = `${shortTime(new Date(at))} `;
  const word = severity === 'info' ? '' : `${severity}: `;
  const lines = wrapped(shown(`${word}${sentence}`), columns - head.length);
  const why = because === null ? [] : wrapped(shown(because), columns - head.length - 2).map((line) => `  ${line}`);
  const gap = ' '.repeat(head.length);
  return [...lines, ...why].map((line, index) => (index === 0 ? head : gap) + line).join('\n');
}
