import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import type { ContainerCreateOptions } from 'dockerode';
import type { PlannedService } from '../../gitlab-bridge/job-services.ts';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { ExecutorSpec, ServicesBeside } from '../ports.ts';
import { containerName, createContainer, jobLimits, labels, sharedLimits } from './docker-container.ts';
import { killContainer, removeContainer } from './docker-ending.ts';
import { statusOf, withLimit } from './docker-engine.ts';
import { DockerFreezing } from './docker-freezing.ts';
import { removeRunBridges } from './docker-network.ts';
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

  constructor(container: Docker.Container, title: string, name: string) {
    this.title = title;
    this.name = name;
    this.container = container;
    this.freezing = new DockerFreezing({
      container,
      group: () => this.#group,
      state: async () => (await this.inspect())?.State ?? null,
    });
  }

  /** Its control group on this machine, as far as it is known. */
  get group(): string | null {
    return this.#group;
  }

  /** Null when it is gone. Throws when the engine is away. */
  async inspect(): Promise<Docker.ContainerInspectInfo | null> {
    try {
      const found = await this.container.inspect();
      this.#group ??= groupOfContainer(this.container.id, found.State.Pid);
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
  readonly #services: Service[];

  private constructor(of: ServicesPlace, services: Service[]) {
    this.#of = of;
    this.#services = services;
  }

  /** All at once. Throws when one cannot be begun; what was made is to be removed by `removeServices`. */
  static async begin(how: NewServices): Promise<DockerServices> {
    const begun = await Promise.allSettled(how.services.map((_, index) => beginOne(how, index)));
    const services = begun.map((one) => {
      if (one.status === 'rejected') throw one.reason;
      return one.value;
    });
    return new DockerServices(how, services);
  }

  /** Those of a run of an agent process before this one; null when there are none. */
  static async find(place: ServicesPlace): Promise<DockerServices | null> {
    const found = await containersOf(place);
    if (found.length === 0) return null;
    const services = found.map(({ Id, Labels }) => {
      const title = Labels[labels.serviceImage] ?? '';
      return new Service(place.docker.getContainer(Id), title, Labels[labels.service] ?? title);
    });
    await Promise.all(services.map((service) => service.inspect()));
    return new DockerServices(place, services);
  }

  /** Until each is ready or will not be, at most `limitMs`; `note` gets what did not work. Never throws but on abort. */
  async ready(limitMs: number, note: (sentence: string) => void, signal: AbortSignal): Promise<void> {
    note(`Waiting for services to be up and running (timeout ${Math.round(limitMs / 1000)} seconds)...`);
    await Promise.all(
      this.#services.map(async (service) => {
        const look = await this.#waitFor(service, performance.now() + limitMs, signal);
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

  async #waitFor(service: Service, untilMs: number, signal: AbortSignal): Promise<Readiness> {
    for (;;) {
      const look = await this.#look(service);
      if (look.is !== 'waiting' || signal.aborted || performance.now() >= untilMs) return look;
      await sleep(lookEveryMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async #look(service: Service): Promise<Readiness> {
    try {
      const found = await service.inspect();
      if (found === null) return { is: 'over', because: 'its container is gone' };
      return lookOf(found, await openPorts(service.container, found.State.Pid));
    } catch (cause) {
      return { is: 'waiting', because: sentenceOf(cause) };
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

  /** Control groups, as far as they are known and on this machine. */
  groups(): string[] {
    return this.#services.flatMap(({ group }) => (group === null ? [] : [group]));
  }

  async freeze(): Promise<void> {
    await Promise.all(this.#services.map(({ freezing }) => freezing.freeze()));
  }

  async thaw(): Promise<void> {
    await Promise.all(this.#services.map(({ freezing }) => freezing.thaw()));
  }

  /** Ends and removes them, and their bridge. */
  remove(): Promise<void> {
    return removeServices(this.#of);
  }
}

/** Everything that lies beside a run's own container, whoever made it. */
export async function removeServices(place: ServicesPlace): Promise<void> {
  await removeAll(place, await containersOf(place));
}

/** That, and the run's own container: for a run of which nothing has begun. */
export async function removeWholeRun(place: ServicesPlace): Promise<void> {
  await removeAll(place, await containersOf(place, []));
}

async function removeAll({ docker, node, run }: ServicesPlace, containers: Docker.ContainerInfo[]): Promise<void> {
  await Promise.all(
    containers.map(async ({ Id, Labels, State }) => {
      const service = new Service(docker.getContainer(Id), Labels[labels.serviceImage] ?? '', '');
      // What is frozen by file takes its SIGKILL only when thawed.
      if (State !== 'created' && (await service.inspect())?.State.Running)
        await killContainer(service.container, service.group);
      await removeContainer(service.container);
    }),
  );
  await removeRunBridges(docker, node, (other) => other === run);
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

async function beginOne(how: NewServices, index: number): Promise<Service> {
  const { docker } = how;
  const { planned } = how.services[index] as NewServices['services'][number];
  try {
    const container = await createContainer(docker, serviceOptions(how, index), planned.platform);
    await container.start();
    const service = new Service(container, planned.title, planned.aliases.join('-'));
    await service.inspect();
    return service;
  } catch (cause) {
    throw new AutogitError('executor-failed', `cannot start service ${planned.title}: ${sentenceOf(cause)}`, { cause });
  }
}

/** As a job's own container: never privileged, no socket of the engine, no path of the machine, no GPU. */
export function serviceOptions(
  { spec, node, network, extraHosts, services }: Omit<NewServices, 'docker' | 'run'>,
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
      OomScoreAdj: 500,
      LogConfig: serviceLog,
    },
    NetworkingConfig: { EndpointsConfig: { [network]: { Aliases: planned.aliases } } },
  };
}
