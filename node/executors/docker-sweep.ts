import type Docker from 'dockerode';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { labels } from './docker-container.ts';
import { removeRunBridges } from './docker-network.ts';
import { removeContainers } from './docker-removal.ts';

/** An agent that starts waits for it. */
const endMs = 10_000;

/** Containers and bridges of a node's runs that are not kept, found by their labels; answers whose they were. */
export async function sweepRuns(docker: Docker, node: string, isKept: (run: string) => boolean): Promise<string[]> {
  const filters = { label: [`${labels.node}=${node}`] };
  const found = await docker.listContainers({ all: true, filters }).catch((cause: unknown) => {
    throw new AutogitError('no-docker', `cannot list containers: ${sentenceOf(cause)}`, { cause });
  });
  const left = found.filter(({ Labels }) => !isKept(Labels[labels.run] ?? ''));
  await removeContainers(
    docker,
    left.map(({ Id }) => Id),
    { limitMs: endMs },
  );
  await removeRunBridges(docker, node, (run) => !isKept(run));
  return [...new Set(left.map(({ Labels }) => Labels[labels.run] ?? ''))];
}
