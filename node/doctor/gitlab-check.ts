import { type GitlabHere, type HostedHere, parkedSuffix } from '../machine/gitlab-here.ts';
import { type Finding, finding } from './finding.ts';

const connect = 'autogit-node gitlab connect';

/** A GitLab that runs on this machine is named, and what connects it, until the mesh has one; then what backs it up. */
export function gitlabFindings(here: readonly GitlabHere[], meshLacksOne: boolean, isUnprotected = false): Finding[] {
  const backUp = isUnprotected ? 'autogit-node gitlab protect --to /mnt/disk/gitlab' : null;
  if (here.length === 0)
    return meshLacksOne ? [finding('gitlab', 'ok', 'none connected', `${connect} URL --token-env VAR`)] : [];
  return here.map((one) => {
    const what = `GitLab${one.version === null ? '' : ` ${one.version}`}`;
    if (one.container === null)
      return finding(
        'gitlab',
        'ok',
        `${what} is installed here as a package${at(one)}`,
        meshLacksOne ? next(one) : null,
      );
    const where = `here in container ${one.container}`;
    if (!one.isRunning && one.container.includes(parkedSuffix))
      return finding(
        'gitlab',
        'ok',
        `container ${one.container} is what gitlab adopt took over, kept and stopped${one.data === null ? '' : `; its data as they were: ${one.data}`}`,
        `where it is not wanted any more: docker rm ${one.container}`,
      );
    if (!one.isRunning)
      return finding(
        'gitlab',
        'warn',
        `${what} lies ${where}, which does not run (${one.status})`,
        `docker start ${one.container}`,
      );
    const data = one.data === null ? '' : `; its data: ${one.data}`;
    if (one.isLocalOnly)
      return finding(
        'gitlab',
        'warn',
        `${what} runs ${where}, and its port is published for this machine alone: other machines cannot reach it${data}`,
        'publish its port without 127.0.0.1 in front, as with: docker run -p 8929:8929',
      );
    return finding('gitlab', 'ok', `${what} runs ${where}${at(one)}${data}`, meshLacksOne ? next(one) : backUp);
  });
}

/**
 * A GitLab of a mesh whose agent is not here: it stands still, and holds its memory. `mesh`: the one that this machine's agent is in;
 * null where none runs, or it looks for one, or waits to be let in. `wasRemoved`: the mesh has removed this machine, so no agent will take it up.
 */
export const leftFindings = (
  hosted: readonly HostedHere[],
  { mesh, isRunning }: { mesh: string | null; isRunning: boolean },
  wasRemoved: boolean,
): Finding[] =>
  hosted
    .filter((one) => one.mesh !== mesh)
    .map(({ container, data }) => {
      const stays = data === null ? '' : `; its data stay in ${data}`;
      if (isRunning && mesh === null && !wasRemoved)
        return finding(
          'gitlab',
          'warn',
          `container ${container} is the GitLab of a mesh, and this machine's agent is in none yet: it stands still`,
          `let this machine into that mesh; where it is not wanted any more: docker rm -f ${container}${stays}`,
        );
      if (mesh === null && !wasRemoved)
        return finding(
          'gitlab',
          'warn',
          `container ${container} is the GitLab of a mesh, and no agent runs here: it stands still`,
          'start the agent: autogit-node join',
        );
      return finding(
        'gitlab',
        'warn',
        `container ${container} is the GitLab of a mesh that this machine is not in any more: nobody is served by it`,
        `docker rm -f ${container}${stays}`,
      );
    });

const at = ({ url }: GitlabHere): string => (url === null ? '' : `, at ${url}`);

/** One in a container can also become the mesh's own, or be backed up as it is. */
const next = ({ url, container }: GitlabHere): string =>
  `${connect} ${url ?? 'URL'} --token-env VAR${container === null ? '' : `; to have the mesh run it: autogit-node gitlab adopt ${container}; to have it backed up as it is: autogit-node gitlab protect --to /mnt/disk/gitlab`}`;
