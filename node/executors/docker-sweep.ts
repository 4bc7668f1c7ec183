import type Docker from 'dockerode';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { labels } from './docker-container.ts';
import { isEngineAway } from './docker-engine.ts';
import { removeRunBridges } from './docker-network.ts';
import { removeContainers } from './docker-removal.ts';
import { removeRunVolumes } from './docker-volumes.ts';

/** An agent that starts waits for it. */
const endMs = 10_000;

/** What could not be removed or looked at is tried again so often. */
const againMs = 5000;

/** A helper of no run (gpu-canary.ts) that is older than this has nobody who removes it. */
const helperMs = 120_000;

/** Removes what is left of runs that are over, whichever agent process made it. */
export class LeftRuns {
  readonly #node: string;
  readonly #docker: () => Promise<Docker>;
  /** Runs of before this process. */
  #known: ReadonlySet<string> | null = null;
  /** Runs that this process has made or looked for. */
  readonly own = new Set<string>();

  constructor(node: string, docker: () => Promise<Docker>) {
    this.#node = node;
    this.#docker = docker;
  }

  /** A call that was called off may have been done after all: a container of a job that has failed since. */
  engineIsBack(): void {
    const known = this.#known;
    if (known) void this.#sweep((run) => known.has(run) || this.own.has(run)).catch(() => undefined);
  }

  async sweep(known: ReadonlySet<string>): Promise<string[]> {
    this.#known = known;
    try {
      return await this.#sweep((run) => known.has(run));
    } catch (error) {
      // Done when the engine is back; what this process has made or found since is no left-over.
      if (isEngineAway(error))
        setTimeout(() => void this.sweep(new Set([...known, ...this.own])).catch(() => undefined), againMs).unref();
      throw error;
    }
  }

  /** All that there is of a run, until it is gone: the engine may be away for long, or busy with it. */
  removeLater(run: string, waitMs = againMs, isDue: () => boolean = () => true): void {
    const timer = setTimeout(() => {
      if (isDue()) this.#sweep((other) => other !== run).catch(() => this.removeLater(run, againMs, isDue));
    }, waitMs);
    timer.unref();
  }

  async #sweep(isKept: (run: string) => boolean): Promise<string[]> {
    return sweepRuns(await this.#docker(), this.#node, isKept);
  }
}

/** Containers, bridges and volumes of a node's runs that are not kept, found by their labels; answers whose they were. */
export async function sweepRuns(
  docker: Docker,
  node: string,
  isKept: (run: string) => boolean,
  nowMs = Date.now(),
): Promise<string[]> {
  const filters = { label: [`${labels.node}=${node}`] };
  const found = await docker.listContainers({ all: true, filters }).catch((cause: unknown) => {
    throw new AutogitError('no-docker', `cannot list containers: ${sentenceOf(cause)}`, { cause });
  });
  const isLeft = ({ Labels, Created }: Docker.ContainerInfo): boolean => {
    const run = Labels[labels.run];
    // Of no run: a helper of the agent's own, which ends by itself within a minute, unless its agent ended before.
    return run === undefined ? nowMs - Created * 1000 > helperMs : !isKept(run);
  };
  const left = found.filter(isLeft);
  await removeContainers(
    docker,
    left.map(({ Id }) => Id),
    { limitMs: endMs },
  );
  await removeRunBridges(docker, node, (run) => !isKept(run));
  await removeRunVolumes(docker, node, (run) => !isKept(run));
  return [...new Set(left.flatMap(({ Labels }) => Labels[labels.run] ?? []))];
}
