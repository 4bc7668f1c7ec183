import { setTimeout as sleep } from 'node:timers/promises';
import { AutogitError } from '../../protocol/errors.ts';
import { shown, shownLines } from '../foreign-text.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import type { AdoptionSeen, AdoptPlan, AdoptRequest } from '../local-api/socket-protocol.ts';
import type { Progress } from '../progress-lines.ts';
import { showDuration } from '../settings/quantities.ts';
import { plainHostname } from './certificate-command.ts';
import { agentOf, type Context } from './context.ts';
import { exit } from './failure.ts';
import { PhaseLines } from './gitlab-deploy.ts';
import { promptOf } from './mesh-commands.ts';
import { sentence } from './output.ts';
import { linesOf, sayChecks } from './plan-lines.ts';
import { isAgreed } from './prompt.ts';
import { stopsWatching } from './watching.ts';

/**
 * `gitlab adopt`: a GitLab that runs in a container without the mesh becomes the mesh's. Looks, says what it found and for how long
 * GitLab is away, asks, and watches until it serves or the old one is back: whoever stops watching stops nothing.
 */
export async function adopt(context: Context): Promise<number> {
  const { settings, args, stop } = context;
  const agent = await agentOf(context);
  const lines = linesOf(context);
  const wish: AdoptRequest = {
    on: settings.text('gitlab.on'),
    container: args[0] ?? null,
    preset: settings.text('gitlab.preset') as AdoptRequest['preset'],
    hostname: plainHostname(settings),
    data: settings.text('gitlab.data'),
  };
  const before = await agent.gitlabAdoption(wish.on);
  if (before.state !== 'under-way' && wish.data !== null && wish.container === null) {
    const left = await (await import('./gitlab-regain.ts')).regain(context, agent, wish.data, lines);
    if (left !== null) return left;
  }
  if (before.state !== 'under-way') {
    requireNoneOfData(context);
    const plan = await agent.gitlabAdoptPlan(wish);
    requirePlan(context, plan, lines);
    if (!(await isWanted(context, plan))) return exit.failed;
    await agent.gitlabAdopt(wish);
  }
  const end = await untilSettled(agent, wish.on, lines, stop.told());
  if (end === null)
    return stopsWatching(context, 'under-way', 'it goes on by itself; watch it: autogit-node gitlab adopt');
  return sayEnd(context, agent, end, lines);
}

/** What counts for data of a mesh that is gone alone would be passed over without a word. */
function requireNoneOfData({ settings }: Context): void {
  const said = ['port', 'sshPort', 'image'].find((name) => settings.source(`gitlab.${name}`) === 'flag');
  if (said === undefined) return;
  const flag = said === 'sshPort' ? 'ssh-port' : said;
  throw new AutogitError(
    'bad-flag',
    `--${flag} is for data of a mesh that is gone: a container's GitLab keeps its own`,
    {
      hint: `the same without --${flag}; other ports: uninstall it once it is the mesh's, which keeps its data, and deploy those`,
    },
  );
}

/** What was found is shown line by line; a `fail` ends it before anything is begun. */
function requirePlan({ settings, out }: Context, plan: AdoptPlan, lines: Progress): void {
  const [failed] = sayChecks(lines, plan.lines);
  const data = settings.text('gitlab.data');
  // Nothing runs there: then it was a folder of a mesh that is gone that was meant, and its disk may not be there yet.
  const isFolder = failed?.what === 'container' && data !== null && plan.found === null;
  if (!failed && plan.found !== null) return;
  if (settings.isOn('json')) out.json({ state: 'refused', plan });
  throw new AutogitError(
    'unsupported',
    `no GitLab on ${plan.host} is taken over: ${failed?.sentence ?? 'none was found'}`,
    {
      hint: isFolder
        ? `data of a mesh that is gone lie in a folder with autogit-place.json, and ${data} on ${plan.host} has none (is its disk mounted?); another machine: --on NODE`
        : (failed?.fix ?? 'what each line above says; then the same command again'),
    },
  );
}

async function isWanted(context: Context, { host, found, url }: AdoptPlan): Promise<boolean> {
  if (found === null) return true;
  const away = found.awayMs === null ? 'for a time that is not known' : `for about ${showDuration(found.awayMs)}`;
  const question = `Make GitLab in container ${shown(found.container)} on ${host} the mesh's, as ${url}? It is away ${away}. Its data are copied to ${shown(found.folder)}; its container and folders are kept as they are, and come back by themselves if it does not come up.`;
  return isAgreed(`GitLab on ${host} shall become the mesh's`, question, promptOf(context));
}

const pollMs = 700;
/** An agent that is restarted meanwhile goes on; one that is away for longer is said. */
const silentMs = 60_000;

async function untilSettled(
  agent: AgentClient,
  on: string | null,
  lines: Progress,
  signal: AbortSignal,
): Promise<AdoptionSeen | null> {
  const told = new PhaseLines(lines, () => performance.now(), 'adopting');
  let heardAt = performance.now();
  let problem: string | null = null;
  while (!signal.aborted) {
    try {
      const seen = await agent.gitlabAdoption(on);
      heardAt = performance.now();
      if (seen.state !== 'under-way') return seen;
      told.sayPhase(seen.phase, seen.percent);
      if (seen.problem !== null && seen.problem !== problem) lines.warn('waits', shownLines(seen.problem));
      problem = seen.problem;
    } catch (error) {
      if (performance.now() - heardAt > silentMs) throw error;
    }
    await sleep(pollMs, undefined, { signal }).catch(() => undefined);
  }
  return null;
}

async function sayEnd(
  { settings, out }: Context,
  agent: AgentClient,
  { state, because, host }: AdoptionSeen,
  lines: Progress,
): Promise<number> {
  const { gitlab } = (await agent.status()).snapshot;
  if (settings.isOn('json')) out.json({ state, because, host, url: state === 'served' ? gitlab.url : null });
  if (state !== 'served')
    throw new AutogitError('unsupported', `GitLab was not taken over, and it is as it was: ${because}`, {
      hint: 'mend that, then the same command again',
    });
  lines.ok('serves', `${gitlab.url ?? 'GitLab'} on ${host}, as the mesh's own`);
  if (!settings.isOn('json')) sentence(out, because);
  lines.say('how it is: autogit-node gitlab; how its copies are: autogit-node gitlab copies');
  return exit.ok;
}
