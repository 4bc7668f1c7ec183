import { AutogitError } from '../../protocol/errors.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { moveQuestion } from '../faces/move-words.ts';
import { shown } from '../foreign-text.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import type { MovePlan } from '../local-api/socket-protocol.ts';
import { showDuration } from '../settings/quantities.ts';
import { agentOf, type Context, nodeArgument } from './context.ts';
import { exit, failedWith, gitlabHint, requireDone } from './failure.ts';
import { PhaseLines } from './gitlab-deploy.ts';
import { hostedMesh } from './hosted-mesh.ts';
import { promptOf } from './mesh-commands.ts';
import { sentence } from './output.ts';
import { linesOf, requireFit } from './plan-lines.ts';
import { isAgreed } from './prompt.ts';
import { foundIn, hearsMs, stopsWatching } from './watching.ts';

type GitlabView = StatusSnapshot['gitlab'];
type Ended = NonNullable<NonNullable<GitlabView['move']>['ended']>;

/**
 * `gitlab move NODE`: looks at both machines, says what it found and what it costs, asks, and watches. Moving is the mesh's from the
 * answer on: whoever stops watching stops nothing, and who asks twice watches the same one.
 */
export async function move(context: Context): Promise<number> {
  if (context.settings.isOn('gitlab.cancel')) return cancel(context);
  const wanted = nodeArgument(context);
  const agent = await agentOf(context);
  const before = (await hostedMesh(agent, 'moves')).gitlab;
  if (before.move?.wish?.to === wanted) return watch(context, agent, before);
  const plan = await agent.gitlabMovePlan(wanted);
  requireFit(context, plan, { nothing: `GitLab does not move to ${plan.to}`, otherwise: gitlabHint });
  if (!(await isWanted(context, plan))) return exit.failed;
  requireDone(await agent.gitlabMove(wanted), gitlabHint);
  return watch(context, agent, before);
}

/** `gitlab move --cancel`: until the gate is shut for it, after which it is done to its end or goes back by itself. */
async function cancel(context: Context): Promise<number> {
  const { settings, out, args } = context;
  const agent = await agentOf(context);
  const { move } = (await hostedMesh(agent, 'moves')).gitlab;
  requireDone(await agent.gitlabMoveCancel(args[0] ?? null), gitlabHint);
  const end = await untilItEnds(context, agent, move?.ended?.at ?? null);
  if (end === null)
    return stopsWatching(context, 'asked', 'its host has the word, and says how it ended: autogit-node gitlab');
  const { isDone, to, host, url, because } = end;
  if (settings.isOn('json')) out.json({ state: isDone ? 'moved' : 'cancelled', host, url, because });
  if (isDone) throw failedWith('unsupported', `GitLab has moved to ${to} all the same`, gitlabHint);
  if (!settings.isOn('json')) sentence(out, `GitLab stays on ${host}, ${url}: ${because}`);
  return exit.ok;
}

const isWanted = (context: Context, plan: MovePlan): Promise<boolean> =>
  isAgreed(`GitLab shall move to ${shown(plan.to)}`, moveQuestion(plan), promptOf(context));

async function watch(context: Context, agent: AgentClient, before: GitlabView): Promise<number> {
  const { settings, out } = context;
  const began = performance.now();
  const end = await untilItEnds(context, agent, before.move?.ended?.at ?? null);
  if (end === null) return stopsWatching(context, 'moving', 'the mesh goes on moving it: autogit-node gitlab');
  const { isDone, because, to, url } = end;
  if (settings.isOn('json')) out.json({ state: isDone ? 'moved' : 'failed', host: end.host, url, because });
  if (!isDone) throw failedWith('unsupported', `GitLab did not move to ${to}: ${because}`, gitlabHint);
  if (!settings.isOn('json'))
    sentence(out, `GitLab runs on ${to}, ${url}, after ${showDuration(performance.now() - began)}`);
  return exit.ok;
}

/** A line for each phase. Null when nobody watches any more. */
async function untilItEnds(
  context: Context,
  agent: AgentClient,
  wasEndedAt: string | null,
): Promise<(Ended & Pick<GitlabView, 'host' | 'url'>) | null> {
  const told = new PhaseLines(linesOf(context), () => performance.now(), 'moving');
  const began = performance.now();
  let wasWished = false;
  return foundIn(context, agent, ({ gitlab }) => {
    if (gitlab.mode !== 'hosted')
      throw new AutogitError('unsupported', 'GitLab was uninstalled meanwhile', { hint: gitlabHint });
    const { wish = null, doing = null, ended = null } = gitlab.move ?? {};
    wasWished ||= wish !== null;
    if (wish === null && ended !== null && ended.at !== wasEndedAt)
      return { ...ended, host: gitlab.host, url: gitlab.url };
    if (wish === null && (wasWished || performance.now() - began > hearsMs))
      throw new AutogitError('unsupported', 'the mesh knows of no move any more', { hint: gitlabHint });
    if (doing) told.sayPhase(doing.phase, doing.percent);
    return null;
  });
}
