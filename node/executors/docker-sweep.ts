import type Docker from 'dockerode';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { labels } from './docker-container.ts';
import { containerBytes } from './docker-disk.ts';
import { removeContainer } from './docker-ending.ts';
import { removeRunBridges } from './docker-network.ts';
import { serviceNames } from './docker-services.ts';

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

/** Of a run's container and of those beside it, on one disk of this machine. */
export async function runBytes(docker: Docker, handle: string, device: number): Promise<number> {
  const beside = await serviceNames(docker, handle).catch(() => []);
  const bytes = await Promise.all([handle, ...beside].map((name) => containerBytes(docker, name, device)));
  return bytes.reduce((sum, one) => sum + one, 0);
}
