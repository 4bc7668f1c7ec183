import type Docker from 'dockerode';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { labels } from './docker-container.ts';
import { statusOf } from './docker-engine.ts';

/** One bridge for all jobs of a node, on which containers do not reach each other. */
export class JobsNetwork {
  readonly #node: string;
  readonly #docker: () => Promise<Docker>;
  #making: Promise<string> | null = null;

  constructor(node: string, docker: () => Promise<Docker>) {
    this.#node = node;
    this.#docker = docker;
  }

  /** Its name. Looked for each time: `docker network prune` takes what no container uses. */
  ensure(): Promise<string> {
    this.#making ??= this.#make().finally(() => {
      this.#making = null;
    });
    return this.#making;
  }

  async #make(): Promise<string> {
    const name = this.#name();
    const docker = await this.#docker();
    try {
      await docker.getNetwork(name).inspect();
      return name;
    } catch (cause) {
      if (statusOf(cause) !== 404) throw new AutogitError('no-docker', `no engine: ${sentenceOf(cause)}`, { cause });
    }
    try {
      await docker.createNetwork({
        Name: name,
        Driver: 'bridge',
        CheckDuplicate: true,
        Labels: { [labels.node]: this.#node },
        Options: { 'com.docker.network.bridge.enable_icc': 'false' },
      });
    } catch (cause) {
      if (statusOf(cause) !== 409)
        throw new AutogitError('executor-failed', `cannot make the jobs' network: ${sentenceOf(cause)}`, {
          cause,
          hint: 'load br_netfilter (modprobe) where it is missing; address ranges become free by: docker network prune',
        });
    }
    return name;
  }

  #name(): string {
    return `autogit-${this.#node.replace(/[^A-Za-z0-9_.-]/g, '-').slice(-40)}`;
  }
}
