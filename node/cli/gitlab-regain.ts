import { AutogitError } from '../../protocol/errors.ts';
import { shown } from '../foreign-text.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import type { RegainPlan, RegainRequest } from '../local-api/socket-protocol.ts';
import type { Progress } from '../progress-lines.ts';
import { showDuration } from '../settings/quantities.ts';
import { showUtc } from './backup-choice.ts';
import { pagesPort } from './certificate-command.ts';
import type { Context } from './context.ts';
import { exit } from './failure.ts';
import { watchDeploy } from './gitlab-deploy.ts';
import { promptOf } from './mesh-commands.ts';
import { sayChecks } from './plan-lines.ts';
import { isAgreed } from './prompt.ts';

/**
 * `gitlab adopt --data DIR` of data that a mesh left which is gone: on which GitLab ran, or copies of them. Says what they are, asks,
 * and GitLab runs on them in this mesh. Null where nothing there was made by a mesh: then DIR is for the data of a container.
 */
export async function regain(
  context: Context,
  agent: AgentClient,
  data: string,
  lines: Progress,
): Promise<number | null> {
  const { settings, out } = context;
  const sshPort = settings.number('gitlab.sshPort');
  const isSaid = ['flag', 'variable'].includes(settings.source('gitlab.image'));
  const wish: RegainRequest = {
    on: settings.text('gitlab.on'),
    image: isSaid ? settings.text('gitlab.image') : null,
    preset: settings.text('gitlab.preset') as RegainRequest['preset'],
    port: pagesPort(settings),
    sshPort: sshPort === 0 ? null : sshPort,
    hostname: settings.text('gitlab.hostname'),
    data,
  };
  const plan = await agent.gitlabRegainPlan(wish);
  if (!plan.isPlace) return null;
  const [failed] = sayChecks(lines, plan.lines);
  if (failed || plan.found === null) {
    if (settings.isOn('json')) out.json({ state: 'refused', plan });
    throw new AutogitError(
      'unsupported',
      `no GitLab is taken over on ${plan.host}: ${failed?.sentence ?? 'nothing was found'}`,
      {
        hint: failed?.fix ?? 'what each line above says; then the same command again',
      },
    );
  }
  if (!(await isAgreed(`GitLab on ${plan.host} shall become this mesh's`, questionOf(plan), promptOf(context))))
    return exit.failed;
  const outcome = await agent.gitlabRegain(wish);
  const code = await watchDeploy(context, agent, lines, outcome);
  if (code === exit.ok && !settings.isOn('json'))
    lines.say(
      'users, projects and their tokens are as they were; jobs and machines of the old mesh are not. Backups, with the recovery key: autogit-node gitlab backup --to TARGET --recovery-key-env VAR',
    );
  return code;
}

/** How old it is, before anybody agrees: what came since is lost. */
function questionOf({ host, found, url }: RegainPlan): string {
  if (found === null) return '';
  const { what, at, mesh, round, epoch, version, path } = found;
  const ago =
    at === 0
      ? 'of a time that is not told'
      : `of ${showUtc(at)} UTC, ${showDuration(Math.max(0, Date.now() - at))} ago`;
  const which = what === 'host' ? `its data ${ago}` : `its copy of round ${round}, ${ago}: what came since is lost`;
  return `Run the GitLab ${version ?? ''} of mesh ${shown(mesh).slice(0, 8)} (epoch ${epoch}) on ${host} as ${url}, from ${path}? It is ${which}. Its old mesh must be gone for good: two would take pushes.`;
}
