import type Docker from 'dockerode';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { labels, volumeAt } from './docker-container.ts';
import { statusOf } from './docker-engine.ts';
import { runSlug } from './run-slug.ts';

/** CI_BUILDS_DIR of a job with services, which all its containers have, as with gitlab-runner. */
const buildsName = (run: string): string => `autogit-${runSlug(run)}-builds`;

/** Empty, for one run. */
export async function ensureRunBuilds(docker: Docker, node: string, run: string): Promise<Docker.MountSettings> {
  const Name = buildsName(run);
  try {
    await docker.createVolume({ Name, Labels: { [labels.node]: node, [labels.run]: run } });
  } catch (cause) {
    throw new AutogitError('executor-failed', `cannot make the job's volume: ${sentenceOf(cause)}`, { cause });
  }
  return volumeAt(Name, '/builds');
}

/** The volumes of runs that `isOurs` names, when nothing has them any more. Trees that stay for later jobs are no run's. */
export async function removeRunVolumes(docker: Docker, node: string, isOurs: (run: string) => boolean): Promise<void> {
  const filters = { label: [`${labels.node}=${node}`, labels.run] };
  const { Volumes } = await docker.listVolumes({ filters });
  for (const { Name, Labels } of Volumes ?? []) {
    if (!isOurs(Labels?.[labels.run] ?? '')) continue;
    await docker
      .getVolume(Name)
      .remove()
      .catch((cause: unknown) => {
        if (statusOf(cause) === 404) return;
        throw new AutogitError('executor-failed', `cannot remove a job's volume: ${sentenceOf(cause)}`, { cause });
      });
  }
}
