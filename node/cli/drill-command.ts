import { AutogitError } from '../../protocol/errors.ts';
import type { DrillStep } from '../../protocol/report.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { shown, shownLines } from '../foreign-text.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import { showDuration } from '../settings/quantities.ts';
import { wrapped } from '../text-wrap.ts';
import { agentOf, type Context } from './context.ts';
import { exit, failedWith, gitlabHint } from './failure.ts';
import { sentence } from './output.ts';
import { foundIn, lostWords, quietTimer, stopsWatching } from './watching.ts';

type Drill = NonNullable<StatusSnapshot['gitlab']['drills']>[number];

/** ms for this machine to hear of a drill that begins on another one. */
const drillHeardMs = 15_000;

/** `gitlab drill`: GitLab tried from what a machine has of it. Ctrl-C ends the watching, not the drill. */
export async function drill(context: Context): Promise<number> {
  const { settings, out } = context;
  const agent = await agentOf(context);
  const on = settings.text('gitlab.on');
  const before = (await agent.status()).snapshot.gitlab.drills ?? [];
  const { node, said } = await agent.gitlabDrill(on);
  if (!settings.isOn('json')) out.talk(shownLines(`${node}: ${said}`));
  const end = await untilDrillIsOver(context, agent, before.find((one) => one.node === node) ?? null, node);
  if (end === null) return stopsWatching(context, 'doing', 'it goes on by itself: autogit-node gitlab');
  if ('ended' in end)
    throw failedWith('clone', `the drill on ${node} ended without a verdict: ${end.ended}`, gitlabHint);
  const { last } = end;
  if (settings.isOn('json')) out.json({ node, ...last });
  if (!last.isProven)
    throw new AutogitError(
      'clone',
      `GitLab does not come out whole of ${last.round} on ${node}: ${shown(last.because)}`,
      {
        hint: gitlabHint,
      },
    );
  const tookMs = last.steps.reduce((sum, { ms }) => sum + ms, 0);
  if (!settings.isOn('json'))
    sentence(out, `proven: ${last.because} (${last.round} on ${node}, ${showDuration(tookMs)})`);
  return exit.ok;
}

/** Says each step as it is over, and what is done now. Null when nobody watches any more. */
export async function untilDrillIsOver(
  context: Context,
  agent: AgentClient,
  before: Drill | null,
  node: string,
): Promise<{ last: NonNullable<Drill['last']> } | { ended: string } | null> {
  const { out, settings } = context;
  const talk = (text: string): void => {
    if (!settings.isOn('json')) out.talk(shownLines(text));
  };
  const began = performance.now();
  let told = 0;
  let phase = '';
  let wasDoing = false;
  const quietFor = quietTimer();
  const tell = (steps: readonly DrillStep[]): void => {
    for (const step of steps.slice(told)) talk(stepLine(step, out.columns));
    told = Math.max(told, steps.length);
  };
  return foundIn(context, agent, ({ gitlab }) => {
    const now = gitlab.drills?.find((one) => one.node === node);
    const quietMs = quietFor(now?.doing != null);
    if (now?.doing) {
      wasDoing = true;
      tell(now.doing.steps);
      if (now.doing.phase !== phase) talk(`      ${now.doing.phase}`);
      phase = now.doing.phase;
      return null;
    }
    if (now?.last && now.last.at !== before?.last?.at) {
      tell(now.last.steps);
      return { last: now.last };
    }
    if (now?.ended && now.ended.at !== before?.ended?.at) return { ended: now.ended.because };
    if (!wasDoing && performance.now() - began > drillHeardMs)
      return { ended: `${node} has not said that it began -> ${gitlabHint}` };
    // An agent that is started anew knows nothing of it.
    if (wasDoing && quietMs > drillHeardMs) return { ended: lostWords };
    return null;
  });
}

/** Further lines of what was found stand below its first one. */
export function stepLine({ step, state, ms, sentence: found }: DrillStep, columns: number): string {
  const lead = `${state.padEnd(6)}${step.padEnd(14)}${showDuration(ms).padStart(7)}  `;
  return wrapped(found, Math.max(24, columns - lead.length))
    .map((line, index) => `${index === 0 ? lead : ' '.repeat(lead.length)}${line}`)
    .join('\n');
}
