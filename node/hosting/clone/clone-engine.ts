import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import type { Clock } from '../../clock.ts';
import { DockerConnection } from '../../executors/docker-connection.ts';
import { isEngineAway, noDocker, statusOf } from '../../executors/docker-engine.ts';
import { cloneLabels, isTakenIn, serviceLabels } from '../service-container.ts';
import { type CloneSpec, cloneOptions } from './clone-container.ts';

interface FoundClone {
  id: string;
  purpose: string;
}

/** What of a Docker Engine a clone needs beside what a `ServiceHost` does. Throws `no-docker`, `executor-failed`. */
export interface CloneEngine {
  /** Made and begun; its id. */
  begin(spec: CloneSpec): Promise<string>;
  /** That image gets a name of ours too: what removes images that nothing uses leaves those that have another name. */
  keep(image: string, data: string): Promise<void>;
  /** The end of `keep`: whatever else names that image stays. */
  release(data: string): Promise<void>;
  /** All that this node began for that mesh, whether they run or not; not what serves since. */
  find(mesh: string, host: string): Promise<FoundClone[]>;
}

const keptAs = 'autogit-node/gitlab';

export class DockerClones implements CloneEngine {
  readonly #connection: DockerConnection;

  /** `named` as DockerConnection has it. */
  constructor(named: string | null, clock: Pick<Clock, 'bootMs'>) {
    this.#connection = new DockerConnection(named, clock);
  }

  async begin(spec: CloneSpec): Promise<string> {
    const docker = await this.#connection.docker();
    try {
      const container = await docker.createContainer(cloneOptions(spec));
      await container.start();
      return container.id;
    } catch (cause) {
      return failed("the clone's container cannot be started", cause);
    }
  }

  async keep(image: string, data: string): Promise<void> {
    const docker = await this.#connection.docker();
    await docker
      .getImage(image)
      .tag({ repo: keptAs, tag: data })
      .catch((cause: unknown) => failed(`image ${image} cannot be named`, cause));
  }

  async release(data: string): Promise<void> {
    const docker = await this.#connection.docker();
    await docker
      .getImage(`${keptAs}:${data}`)
      .remove({ force: false })
      // 404: it was not kept, or a person was sooner.
      .catch((cause: unknown) => (statusOf(cause) === 404 ? undefined : failed('the image cannot be let go', cause)));
  }

  async find(mesh: string, host: string): Promise<FoundClone[]> {
    const docker = await this.#connection.docker();
    const filters = { label: [cloneLabels.data, `${serviceLabels.mesh}=${mesh}`, `${serviceLabels.host}=${host}`] };
    const all = await docker
      .listContainers({ all: true, filters })
      .catch((cause) => failed('the engine does not list its containers', cause));
    return all
      .filter(({ Labels, Names }) => !isTakenIn(Labels[cloneLabels.data] ?? '', Names))
      .map(({ Id, Labels }) => ({ id: Id, purpose: Labels[cloneLabels.purpose] ?? 'clone' }));
  }
}

/** `no-docker` where nobody answered. */
function failed(what: string, cause: unknown): never {
  if (cause instanceof AutogitError) throw cause;
  if (isEngineAway(cause)) return noDocker(cause);
  throw new AutogitError('executor-failed', `${what}: ${sentenceOf(cause)}`, { cause });
}
