import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import type { ContainerCreateOptions } from 'dockerode';
import type { PlannedService } from '../../gitlab-bridge/job-services.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { ExecutorSpec, ServicesBeside } from '../ports.ts';
import { containerName, createContainer, jobLimits, labels, sharedLimits } from './docker-container.ts';
import { isSilent, saidBy, startErrorCode, statusOf, withLimit } from './docker-engine.ts';
import { DockerFreezing } from './docker-freezing.ts';
import { removeRunBridges } from './docker-network.ts';
import { groupLike, inspectMs, type KnownGroup, removeContainers } from './docker-removal.ts';
import { removeRunVolumes } from './docker-volumes.ts';
import { groupOfContainer } from './run-cgroup.ts';
import { howEnded, lookOf, openPorts, type Readiness } from './service-health.ts';
import { followLog, lastLines, serviceLog } from './service-log.ts';

/** Between two looks at whether a service is ready. Each costs the engine a few milliseconds. */
const lookEveryMs = 100;
/** As gitlab-runner's wait_for_services_timeout. */
export const servicesWaitMs = 30_000;
/** Of a service that did not start, or died: what the trace shows of its own words. */
const linesShown = 100;

/** An engine that does not answer in it keeps no job, whose script has ended, from its end. */
const endedLookMs = 5000;

/** Between the name of a job's container and the number of a service. */
const besideName = '-svc-';

export interface ServicesPlace {
  docker: Docker;
  node: string;
  run: string;
}

interface NewServices extends ServicesPlace {
  spec: ExecutorSpec;
  network: string;
  extraHosts: string[];
  /** What all containers of the job have: CI_BUILDS_DIR, and the tree that stays, if one does. */
  mounts: Docker.MountSettings[];
  services: { planned: PlannedService; imageId: string }[];
}

/** A service's container. */
class Service {
  readonly title: string;
  /** Its aliases in one word, as gitlab-runner says it in the trace. */
  readonly name: string;
  readonly container: Docker.Container;
  readonly freezing: DockerFreezing;
  #group: string | null = null;
  /** Where its group will be; null once the engine says that it began. */
  #expected: string | null = null;
  #hasBegun = false;

  constructor(container: Docker.Container, title: string, name: string) {
    this.title = title;
    this.name = name;
    this.container = container;
    this.freezing = new DockerFreezing({
      container,
      group: () => this.group,
      state: async () => (await withLimit(this.inspect(), inspectMs))?.State ?? null,
    });
  }

  /** Its control group on this machine, as far as it is there and known. */
  get group(): string | null {
    return this.#group ?? (this.#expected !== null && existsSync(this.#expected) ? this.#expected : null);
  }

  /** Where its group is, or will be once it is started. */
  get place(): string | null {
    return this.#group ?? this.#expected;
  }

  expect(like: KnownGroup): void {
    if (!this.#hasBegun) this.#expected = groupLike(like, this.container.id);
  }

  /** One that stands still in the middle of its start does not say. */
  async lookSoon(): Promise<void> {
    await withLimit(this.inspect(), inspectMs).catch((cause: unknown) => {
      if (!isSilent(cause)) throw cause;
    });
  }

  /** It may have been told to stand still while it was being started. */
  async start(): Promise<void> {
    try {
      await this.container.start();
    } catch (cause) {
      // 304: it runs already, by a call that was not answered.
      if (statusOf(cause) !== 304) throw cause;
    }
    await this.freezing.freezeAgain();
    await this.inspect();
  }

  /** Null when it is gone. Throws when the engine is away. */
  async inspect(): Promise<Docker.ContainerInspectInfo | null> {
    try {
      const found = await this.container.inspect();
      // One that has ended has no group any more.
      this.#group = found.State.Running ? (this.#group ?? groupOfContainer(this.container.id, found.State.Pid)) : null;
      this.#hasBegun ||= found.State.Status !== 'created';
      if (this.#hasBegun) this.#expected = null;
      return found;
    } catch (cause) {
      if (statusOf(cause) === 404) return null;
      throw cause;
    }
  }
}

/** The containers beside a job's own, on a bridge of theirs; all are found again by their labels. */
export class DockerServices implements ServicesBeside {
  readonly #of: ServicesPlace;
  #services: Service[];

  constructor({ docker, node, run }: ServicesPlace, services: Service[] = []) {
    this.#of = { docker, node, run };
    this.#services = services;
  }

  /** All at once; none runs yet. Throws when one cannot be made; what was made is to be removed by `removeServices`. */
  async create(how: NewServices): Promise<void> {
    this.#services = await allOf(how.services.map((_, index) => createOne(how, index)));
  }

  /** All at once. Throws when one cannot be started. */
  async start(signal: AbortSignal): Promise<void> {
    await allOf(this.#services.map((service) => this.#startOne(service)));
    signal.throwIfAborted();
  }

  async #startOne(service: Service): Promise<void> {
    try {
      await service.start();
    } catch (cause) {
      throw new AutogitError(startErrorCode(cause), `cannot start service ${service.title}: ${saidBy(cause)}`, {
        cause,
      });
    }
  }

  /** Those of a run of an agent process before this one; null when there are none. */
  static async find(place: ServicesPlace): Promise<DockerServices | null> {
    const found = await containersOf(place);
    if (found.length === 0) return null;
    const services = found.map(({ Id, Labels }) => {
      const title = Labels[labels.serviceImage] ?? '';
      return new Service(place.docker.getContainer(Id), title, Labels[labels.service] ?? title);
    });
    await Promise.all(services.map((service) => service.lookSoon()));
    return new DockerServices(place, services);
  }

  /** Until each is ready or will not be, at most `limitMs`; `note` gets what did not work. Never throws but on abort. */
  async ready(limitMs: number, note: (sentence: string) => void, signal: AbortSignal): Promise<void> {
    note(`Waiting for services to be up and running (timeout ${Math.round(limitMs / 1000)} seconds)...`);
    await Promise.all(
      this.#services.map(async (service) => {
        const look = await this.#waitFor(service, limitMs, signal);
        if (look.is === 'silent')
          note(`Service ${service.title} exposes no port and has no HEALTHCHECK: it is not waited for`);
        if (look.is !== 'waiting' && look.is !== 'over') return;
        const late = look.is === 'waiting' ? `, after ${Math.round(limitMs / 1000)} seconds` : '';
        note(
          [
            '',
            `*** WARNING: Service ${service.title} probably didn't start properly.`,
            '',
            'Health check error:',
            `${look.because}${late}`,
            '',
            'Service container logs:',
            ...(await lastLines(service.container, linesShown)),
            '',
            '*********',
            '',
          ].join('\n'),
        );
      }),
    );
    signal.throwIfAborted();
  }

  async #waitFor(service: Service, limitMs: number, signal: AbortSignal): Promise<Readiness> {
    let untilMs = performance.now() + limitMs;
    for (;;) {
      const beganMs = performance.now();
      const look = await this.#look(service);
      if (look.is !== 'waiting' || signal.aborted || performance.now() >= untilMs) return look;
      await sleep(lookEveryMs, undefined, { signal }).catch(() => undefined);
      // What stands still, as its run does, becomes ready only when it goes on.
      if (service.freezing.isHeld) untilMs += performance.now() - beganMs;
    }
  }

  async #look(service: Service): Promise<Readiness> {
    try {
      const found = await service.inspect();
      if (found === null) return { is: 'over', because: 'its container is gone' };
      return lookOf(found, await openPorts(service.container, found.State.Pid));
    } catch (cause) {
      return { is: 'waiting', because: saidBy(cause) };
    }
  }

  follow: ServicesBeside['follow'] = async (since, onLines, signal) => {
    await Promise.all(
      this.#services.map(({ container, name }) =>
        followLog(container, since(name), (lines) => onLines(name, lines), signal),
      ),
    );
  };

  async ended(): Promise<string[]> {
    const said = this.#services.map(async (service) => {
      const { container, title } = service;
      const found = await withLimit(service.inspect(), endedLookMs).catch(() => undefined);
      if (found === undefined || found?.State.Running || found?.State.ExitCode === 0) return [];
      const how = found === null ? 'its container is gone' : howEnded(found.State);
      const lines = await lastLines(container, 10);
      return [[`service ${title} does not run any more (${how})`, ...lines].join('\n')];
    });
    return (await Promise.all(said)).flat();
  }

  /** Control groups, as far as they are known and on this machine; also of what is not started yet. */
  groups(own: KnownGroup | null): string[] {
    if (own !== null) for (const service of this.#services) service.expect(own);
    return this.#services.flatMap(({ place }) => (place === null ? [] : [place]));
  }

  async freeze(): Promise<void> {
    await Promise.all(this.#services.map(({ freezing }) => freezing.freeze()));
  }

  async thaw(): Promise<void> {
    await Promise.all(this.#services.map(({ freezing }) => freezing.thaw()));
  }

  /** Ends and removes them, and their bridge. */
  remove(own: KnownGroup | null): Promise<void> {
    return removeServices(this.#of, own);
  }
}

/** Everything that lies beside a run's own container, whoever made it. */
export async function removeServices(place: ServicesPlace, like: KnownGroup | null = null): Promise<void> {
  await removeAll(place, await containersOf(place), like);
}

/** That, and the run's own container: for a run of which nothing has begun. */
export async function removeWholeRun(place: ServicesPlace): Promise<void> {
  await removeAll(place, await containersOf(place, []));
}

async function removeAll(
  { docker, node, run }: ServicesPlace,
  containers: Docker.ContainerInfo[],
  like: KnownGroup | null = null,
): Promise<void> {
  const ids = containers.map(({ Id }) => Id);
  await removeContainers(docker, ids, { like });
  await removeRunBridges(docker, node, (other) => other === run);
  await removeRunVolumes(docker, node, (other) => other === run);
}

const containersOf = (
  { docker, node, run }: ServicesPlace,
  also: string[] = [labels.service],
): Promise<Docker.ContainerInfo[]> =>
  docker.listContainers({
    all: true,
    filters: { label: [`${labels.node}=${node}`, `${labels.run}=${run}`, ...also] },
  });

/** The ids of the containers beside a job's own, by that one's name. */
export async function idsBeside(docker: Docker, handle: string): Promise<string[]> {
  const filters = { name: [`^/${handle}${besideName}`], label: [labels.service] };
  return (await docker.listContainers({ all: true, filters })).map(({ Id }) => Id);
}

/** Waits for all, and throws the first error only then. */
async function allOf<T>(parts: Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(parts);
  return Promise.all(parts);
}

async function createOne(how: NewServices, index: number): Promise<Service> {
  const { planned } = how.services[index] as NewServices['services'][number];
  try {
    const container = await createContainer(how.docker, serviceOptions(how, index), planned.platform);
    return new Service(container, planned.title, planned.aliases.join('-'));
  } catch (cause) {
    throw new AutogitError(startErrorCode(cause), `cannot create service ${planned.title}: ${saidBy(cause)}`, {
      cause,
    });
  }
}

/** As a job's own container: never privileged, no socket of the engine, no path of the machine, no GPU. It sees the job's tree, and no other's. */
export function serviceOptions(
  { spec, node, network, extraHosts, mounts, services }: Omit<NewServices, 'docker' | 'run'>,
  index: number,
): ContainerCreateOptions {
  const { planned, imageId } = services[index] as NewServices['services'][number];
  const { entrypoint, command, user } = planned;
  const own = planned.environment.filter(({ key }) => key !== 'NVIDIA_VISIBLE_DEVICES');
  return {
    name: `${containerName(spec.run)}${besideName}${index}`,
    Image: imageId,
    ...(entrypoint !== null && { Entrypoint: entrypoint.length > 0 ? entrypoint : [''] }),
    ...(command.length > 0 && { Cmd: command }),
    ...(user && { User: user }),
    Env: [...own.map(({ key, value }) => `${key}=${value}`), 'NVIDIA_VISIBLE_DEVICES=void'],
    Labels: {
      [labels.node]: node,
      [labels.run]: spec.run,
      [labels.job]: String(spec.job),
      [labels.service]: planned.aliases.join('-'),
      [labels.serviceImage]: planned.title,
    },
    HostConfig: {
      ...jobLimits(spec),
      // All of them together may have as many processes, and as much weight, as one job.
      ...sharedLimits(services.length),
      NetworkMode: network,
      ExtraHosts: extraHosts,
      Mounts: mounts,
      OomScoreAdj: 500,
      LogConfig: serviceLog,
    },
    NetworkingConfig: { EndpointsConfig: { [network]: { Aliases: planned.aliases } } },
  };
}
