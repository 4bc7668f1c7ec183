import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { DockerConnection } from './docker-connection.ts';
import { labels } from './docker-container.ts';
import { statusOf } from './docker-engine.ts';
import { runSlug } from './run-slug.ts';

/** One bridge for all jobs of a node, on which containers do not reach each other. */
export class JobsNetwork {
  readonly #node: string;
  readonly #engine: Pick<DockerConnection, 'docker' | 'isPodman'>;
  #making: Promise<string> | null = null;

  constructor(node: string, engine: Pick<DockerConnection, 'docker' | 'isPodman'>) {
    this.#node = node;
    this.#engine = engine;
  }

  /** The name of the network for a run. Looked for each time: `docker network prune` takes what no container uses. */
  async ensure(run: string): Promise<string> {
    if (await this.#engine.isPodman()) return ensureRunBridge(await this.#engine.docker(), this.#node, run, true);
    this.#making ??= this.#make().finally(() => {
      this.#making = null;
    });
    return this.#making;
  }

  async #make(): Promise<string> {
    return ensureBridge(await this.#engine.docker(), "the jobs' network", {
      Name: this.#name(),
      Labels: { [labels.node]: this.#node },
      Options: { 'com.docker.network.bridge.enable_icc': 'false' },
    });
  }

  #name(): string {
    return `autogit-${this.#node.replace(/[^A-Za-z0-9_.-]/g, '-').slice(-40)}`;
  }
}

type Bridge = Pick<Docker.NetworkCreateOptions, 'Name' | 'Labels' | 'Options'>;

async function ensureBridge(docker: Docker, what: string, bridge: Bridge): Promise<string> {
  const { Name } = bridge;
  try {
    await docker.getNetwork(Name).inspect();
    return Name;
  } catch (cause) {
    if (statusOf(cause) !== 404) throw new AutogitError('no-docker', `no engine: ${sentenceOf(cause)}`, { cause });
  }
  try {
    await docker.createNetwork({ ...bridge, Driver: 'bridge', CheckDuplicate: true });
  } catch (cause) {
    if (statusOf(cause) !== 409)
      throw new AutogitError('executor-failed', `cannot make ${what}: ${sentenceOf(cause)}`, {
        cause,
        hint: 'load br_netfilter (modprobe) where it is missing; address ranges become free by: docker network prune',
      });
  }
  return Name;
}

export const runBridge = (run: string): string => `autogit-${runSlug(run)}`;

/**
 * The bridge of one job, on which its containers reach each other, and no other job's. With Podman every job has one: it does not
 * keep containers of one bridge apart, and bridges only where it is told to.
 */
export const ensureRunBridge = (docker: Docker, node: string, run: string, isPodman: boolean): Promise<string> =>
  ensureBridge(docker, "the job's network", {
    Name: runBridge(run),
    Labels: { [labels.node]: node, [labels.run]: run },
    ...(isPodman && { Options: { isolate: 'true' } }),
  });

const removeTries = 30;

/** The bridges of runs that `isOurs` names, and nothing else on them. Whoever attached a container of his own loses the connection only. */
export async function removeRunBridges(docker: Docker, node: string, isOurs: (run: string) => boolean): Promise<void> {
  const filters = { label: [`${labels.node}=${node}`, labels.run] };
  for (const { Id, Labels } of await docker.listNetworks({ filters }))
    if (isOurs(Labels?.[labels.run] ?? '')) await removeBridge(docker.getNetwork(Id));
}

async function removeBridge(network: Docker.Network): Promise<void> {
  for (let tries = 1; ; tries++)
    try {
      return void (await network.remove());
    } catch (cause) {
      if (statusOf(cause) === 404) return;
      // 403: a container is still on it.
      if (statusOf(cause) !== 403 || tries >= removeTries)
        throw new AutogitError('executor-failed', `cannot remove a job's network: ${sentenceOf(cause)}`, { cause });
      const { Containers = {} } = (await network.inspect().catch(() => ({}))) as { Containers?: object };
      for (const Container of Object.keys(Containers))
        await network.disconnect({ Container, Force: true }).catch(() => undefined);
      await sleep(100);
    }
}
