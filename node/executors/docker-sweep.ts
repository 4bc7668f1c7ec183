import type Docker from 'dockerode';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { labels } from './docker-container.ts';
import { removeContainer } from './docker-ending.ts';
import { removeRunBridges } from './docker-network.ts';

/** Containers and bridges of a node's runs that are not kept, found by their labels; answers whose they were. */
export async function sweepRuns(docker: Docker, node: string, isKept: (run: string) => boolean): Promise<string[]> {
  const filters = { label: [`${labels.node}=${node}`] };
  const found = await docker.listContainers({ all: true, filters }).catch((cause: unknown) => {
    throw new AutogitError('no-docker', `cannot list containers: ${sentenceOf(cause)}`, { cause });
  });
  const removed = new Set<string>();
  for (const { Id, Labels } of found) {
    const run = Labels[labels.run] ?? '';
    if (isKept(run)) continue;
    await removeContainer(docker.getContainer(Id));
    removed.add(run);
  }
  await removeRunBridges(docker, node, (run) => !isKept(run));
  return [...removed];
}
