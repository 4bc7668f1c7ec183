import { AutogitError } from '../../protocol/errors.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { isOfVersion } from '../../scheduler/hosting/upgrade-path.ts';
import { listed } from '../../scheduler/phrases.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import type { UpgradePlan } from '../local-api/socket-protocol.ts';
import { showDuration } from '../settings/quantities.ts';
import { agentOf, type Context } from './context.ts';
import { exit, failedWith, gitlabHint, requireDone } from './failure.ts';
import { PhaseLines } from './gitlab-deploy.ts';
import { hostedMesh } from './hosted-mesh.ts';
import { promptOf } from './mesh-commands.ts';
import { sentence } from './output.ts';
import { linesOf, requireFit } from './plan-lines.ts';
import { isAgreed } from './prompt.ts';
import { foundIn, hearsMs, lostWords, quietTimer, stopsWatching, whyGone } from './watching.ts';

type GitlabView = StatusSnapshot['gitlab'];
type Upgrade = NonNullable<GitlabView['upgrade']>;

/**
 * `gitlab upgrade`: looks, says what it found, asks, and watches. Upgrading is the mesh's from the answer on: whoever stops watching
 * stops nothing, and who asks twice watches the same one. `--rehearse`: on a clone only.
 */
export async function upgrade(context: Context): Promise<number> {
  const { settings, out } = context;
  const agent = await agentOf(context);
  const image = settings.text('gitlab.image') as string;
  const before = (await hostedMesh(agent, 'upgrades')).gitlab;
  const isRehearsal = settings.isOn('gitlab.rehearse');
  if (!isRehearsal && before.upgrade?.wish?.image === image) return watchUpgrade(context, agent, before, image);
  const wish = { image, rehearse: isRehearsal || settings.isOn('gitlab.rehearsal') };
  const plan = await agent.gitlabUpgradePlan(wish);
  if (plan.from !== null && isOfVersion(plan.from, image)) {
    const because = `GitLab ${plan.from} runs already`;
    if (settings.isOn('json')) out.json({ state: 'same', because });
    else sentence(out, because);
    return exit.ok;
  }
  requireFit(context, plan, { code: 'upgrade', nothing: 'GitLab was not upgraded', otherwise: gitlabHint });
  if (isRehearsal) {
    await agent.gitlabRehearse(image);
    return watchRehearsal(context, agent, before, image);
  }
  if (!(await isWanted(context, plan))) return exit.failed;
  requireDone(await agent.gitlabUpgrade(wish), gitlabHint);
  return watchUpgrade(context, agent, before, image);
}

async function isWanted(context: Context, { host, from, steps, awayMs }: UpgradePlan): Promise<boolean> {
  const times = steps.length === 1 ? '' : `, ${steps.length} times, for each of ${listed(steps)}`;
  const question = `Upgrade GitLab on ${host} from ${from} to ${steps.at(-1)}? It is away for about ${showDuration(awayMs)}${times}; jobs that run go on meanwhile, and are told when it is back.`;
  return isAgreed(`GitLab on ${host} shall be upgraded`, question, promptOf(context));
}

/** What `end` finds in what is known; null when nobody watches any more. */
async function watched<T>(
  context: Context,
  agent: AgentClient,
  what: 'upgrade' | 'rehearsal',
  end: (gitlab: GitlabView, all: StatusSnapshot) => T | null,
): Promise<T | null> {
  const verb = what === 'upgrade' ? 'upgrading' : 'rehearsing';
  const told = new PhaseLines(linesOf(context), () => performance.now(), verb);
  return foundIn(context, agent, (all) => {
    const { gitlab } = all;
    if (gitlab.mode !== 'hosted')
      throw new AutogitError('upgrade', 'GitLab was uninstalled meanwhile', { hint: gitlabHint });
    const found = end(gitlab, all);
    if (found !== null) return found;
    const doing = gitlab.upgrade?.doing;
    if (doing && gitlab.hosted)
      told.say({
        state: gitlab.state,
        hosted: { ...gitlab.hosted, progress: { phase: doing.phase, percent: doing.percent } },
      });
    return null;
  });
}

async function watchUpgrade(context: Context, agent: AgentClient, before: GitlabView, image: string): Promise<number> {
  const { settings, out } = context;
  const began = performance.now();
  const wasEnded = before.upgrade?.ended?.at ?? null;
  const end = await watched(context, agent, 'upgrade', ({ upgrade: now }, all): Upgrade['ended'] => {
    const isNews = now?.ended != null && now.ended.image === image && now.ended.at !== wasEnded;
    if (isNews) return now.ended as Upgrade['ended'];
    const gone = whyGone(all, before.host);
    if (gone === null) return null;
    throw new AutogitError('upgrade', `nothing more is heard of the upgrade: ${gone}`, {
      hint: `its agent goes on with it once it is back: ${gitlabHint}`,
    });
  });
  if (end === null) return stopsWatching(context, 'upgrading', 'the mesh goes on upgrading it: autogit-node gitlab');
  if (settings.isOn('json')) out.json({ state: end.isDone ? 'upgraded' : 'failed', image, because: end.because });
  if (!end.isDone) throw failedWith('upgrade', end.because, gitlabHint);
  if (!settings.isOn('json')) sentence(out, `${end.because}, after ${showDuration(performance.now() - began)}`);
  return exit.ok;
}

async function watchRehearsal(
  context: Context,
  agent: AgentClient,
  before: GitlabView,
  image: string,
): Promise<number> {
  const { settings, out } = context;
  const was = JSON.stringify(before.upgrade?.rehearsed ?? null);
  let isBegun = false;
  const quietFor = quietTimer();
  const end = await watched(context, agent, 'rehearsal', ({ upgrade: now }) => {
    const isDoing = now?.doing?.what === 'rehearsal';
    isBegun ||= isDoing;
    const { rehearsed = null } = now ?? {};
    const isNews = isBegun || JSON.stringify(rehearsed) !== was;
    if (!isDoing && isNews && rehearsed?.image === image) return rehearsed;
    // Its agent has lost it: nothing else tells.
    if (quietFor(isDoing) < 3 * hearsMs) return null;
    return { isDone: false, because: `${lostWords}; nothing was changed`, seconds: null };
  });
  if (end === null) return stopsWatching(context, 'rehearsing', 'the rehearsal goes on by itself: autogit-node gitlab');
  const { isDone, because, seconds } = end;
  if (settings.isOn('json')) out.json({ state: isDone ? 'rehearsed' : 'failed', image, because, seconds });
  if (!isDone) throw failedWith('upgrade', because, gitlabHint);
  if (!settings.isOn('json')) sentence(out, `${because}. Nothing was changed.`);
  return exit.ok;
}
