import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { Clock } from '../clock.ts';
import { DockerConnection } from '../executors/docker-connection.ts';
import { killContainer, killGroup, removeContainer } from '../executors/docker-ending.ts';
import { isEngineAway, isSilent, noDocker, statusOf } from '../executors/docker-engine.ts';
import { pull, wholeName } from '../executors/docker-image.ts';
import { FrameReader } from '../executors/docker-log.ts';
import { isNoSpace } from '../executors/image-store.ts';
import { freezerOfProcess } from '../executors/run-cgroup.ts';
import { endStuckExecs, groupNamed } from '../executors/stuck-exec.ts';
import { pullProgress } from './pull-progress.ts';
import { archOf, cloneLabels, keyOf, serviceLabels, serviceName, serviceOptions } from './service-container.ts';
import type {
  FoundService,
  PullProgress,
  ServiceHost,
  ServiceImage,
  ServiceLook,
  ServiceNetwork,
  ServiceSpec,
} from './service-host.ts';
import { memoryOf } from './service-memory.ts';

const mostOutBytes = 1 << 20;
const looksEveryMs = 200;

/** Each call's deadline is DockerConnection's, but where it says otherwise. */
export class DockerServiceHost implements ServiceHost {
  readonly #connection: DockerConnection;
  /** By name, while each is made: who asks meanwhile waits for the same. */
  readonly #networks = new Map<string, Promise<void>>();

  /** `named` as DockerConnection has it. */
  constructor(named: string | null, clock: Pick<Clock, 'bootMs'>) {
    this.#connection = new DockerConnection(named, clock);
  }

  async check(): Promise<{ arch: string }> {
    const { Architecture } = (await this.#connection.info()) as Record<string, unknown>;
    return { arch: archOf(String(Architecture ?? '')) };
  }

  async image(
    name: string,
    how: { pull: boolean; onProgress?: PullProgress; signal: AbortSignal },
  ): Promise<ServiceImage | null> {
    const docker = await this.#docker();
    const here = await lookAtImage(docker, name);
    if (here !== null || !how.pull) return here;
    try {
      await pull(docker, wholeName(name), null, how.signal, pullProgress(how.onProgress ?? (() => undefined)));
    } catch (cause) {
      how.signal.throwIfAborted();
      if (isEngineAway(cause)) return noDocker(cause);
      const because = isNoSpace(cause) ? 'it does not fit on the disk of the Docker Engine' : sentenceOf(cause);
      throw new AutogitError('image-missing', `image ${name} cannot be pulled: ${because}`, {
        cause,
        hint: isNoSpace(cause) ? 'make room: docker system prune' : `on GitLab's machine: docker pull ${name}`,
      });
    }
    const pulled = await lookAtImage(docker, name);
    if (pulled === null) throw new AutogitError('image-missing', `image ${name} is still missing after its pull`);
    return pulled;
  }

  async start(spec: ServiceSpec): Promise<string> {
    const docker = await this.#docker();
    const hash = createHash('sha256').update(JSON.stringify(spec)).digest('hex').slice(0, 16);
    const before = await this.#inspect(serviceName(spec.data));
    const isSame = before?.Config.Labels?.[serviceLabels.spec] === hash;
    if (before !== null && isSame && before.State.Running) return before.Id;
    if (before !== null && !isSame) {
      await this.kill(before.Id);
      await removeContainer(docker.getContainer(before.Id));
    }
    try {
      await this.#network(spec);
      const options = serviceOptions(spec, hash);
      const container =
        before !== null && isSame ? docker.getContainer(before.Id) : await docker.createContainer(options);
      await container.start().catch((cause: unknown) => {
        // 304: it runs already.
        if (statusOf(cause) !== 304) throw cause;
      });
      return container.id;
    } catch (cause) {
      return failed("GitLab's container cannot be started", cause);
    }
  }

  async takeIn(id: string, spec: ServiceSpec): Promise<void> {
    const docker = await this.#docker();
    const { State, Config, NetworkSettings } = (await this.#inspect(id)) ?? {};
    const { [cloneLabels.data]: data, [serviceLabels.host]: host, [serviceLabels.epoch]: epoch } = Config?.Labels ?? {};
    const isIt = data === spec.data && host === spec.host && epoch === String(spec.epoch);
    if (!State?.Running || !isIt)
      throw new AutogitError('executor-failed', 'what was booted beforehand has ended, or is another GitLab');
    try {
      const name = serviceName(spec.data);
      const before = await this.#inspect(name);
      if (before !== null && before.Id !== id) {
        await this.kill(before.Id);
        await removeContainer(docker.getContainer(before.Id));
      }
      // The last step is its name, by which it is found from then on: an agent that ends before has a clone to throw away.
      await this.#network(spec);
      for (const other of Object.keys(NetworkSettings?.Networks ?? {}).filter((one) => one !== name))
        await docker.getNetwork(other).disconnect({ Container: id, Force: true });
      if (NetworkSettings?.Networks?.[name] === undefined) await docker.getNetwork(name).connect({ Container: id });
      if (before?.Id !== id) await docker.getContainer(id).rename({ name });
    } catch (cause) {
      return failed('what was booted beforehand gets no network', cause);
    }
  }

  async find(mesh: string): Promise<FoundService[]> {
    const docker = await this.#docker();
    const filters = { label: [`${serviceLabels.mesh}=${mesh}`] };
    const all = await docker
      .listContainers({ all: true, filters })
      .catch((cause) => failed('the engine does not list its containers', cause));
    return all.flatMap(({ Id, Labels, Names, State }) => {
      const key = keyOf(Labels, Names);
      return key === null ? [] : [{ ...key, id: Id, isRunning: /^(running|paused|restarting)$/.test(State) }];
    });
  }

  async look(id: string): Promise<ServiceLook | null> {
    const found = await this.#inspect(id);
    if (found === null) return null;
    const { State, NetworkSettings } = found;
    const pid = State.Running && State.Pid > 0 ? State.Pid : null;
    const address = Object.values(NetworkSettings.Networks ?? {}).find(({ IPAddress }) => IPAddress)?.IPAddress;
    return {
      isRunning: State.Running,
      isPaused: State.Paused,
      exitCode: State.ExitCode,
      isOutOfMemory: State.OOMKilled,
      address: pid === null ? null : (address ?? null),
      pid,
      cgroup: pid === null ? null : freezerOfProcess(pid),
      memory: pid === null ? null : memoryOf(pid),
      startedAtMs: Date.parse(State.StartedAt) || 0,
    };
  }

  async exec(
    id: string,
    argv: readonly string[],
    { input, timeoutMs }: { input?: string; timeoutMs: number },
  ): Promise<{ code: number; out: string }> {
    const docker = await this.#docker();
    let stream: NodeJS.ReadWriteStream & { destroy?: () => void };
    const isInput = input !== undefined;
    const late = AbortSignal.timeout(timeoutMs);
    try {
      const options = { Cmd: [...argv], User: '0', AttachStdin: isInput, AttachStdout: true, AttachStderr: true };
      const exec = await docker.getContainer(id).exec(options);
      stream = await exec.start({ hijack: true, stdin: isInput });
      late.addEventListener('abort', () => stream.destroy?.(), { once: true });
      // The engine may have taken longer than that to begin it.
      if (late.aborted) stream.destroy?.();
      if (isInput) stream.end(input);
      const out = await textOf(stream);
      late.throwIfAborted();
      return { code: (await exec.inspect()).ExitCode ?? -1, out };
    } catch (cause) {
      if (late.aborted)
        throw new AutogitError('timed-out', `${argv[0]} in GitLab's container: no end within ${timeoutMs / 1000} s`);
      return failed(`${argv[0]} cannot be run in GitLab's container`, cause);
    }
  }

  async lastWords(id: string, lines: number): Promise<string> {
    const docker = await this.#docker();
    const bytes = (await docker
      .getContainer(id)
      .logs({ stdout: true, stderr: true, tail: lines, follow: false })
      .catch(() => Buffer.alloc(0))) as Buffer;
    return Buffer.concat(new FrameReader([1, 2]).push(bytes)).toString('utf8');
  }

  async stop(id: string, graceMs: number): Promise<void> {
    const docker = await this.#docker();
    const until = performance.now() + graceMs;
    // Not the engine's own stop, whose answer comes only when it has ended: a call has a shorter limit.
    await docker
      .getContainer(id)
      .kill({ signal: 'SIGTERM' })
      .catch(() => undefined);
    while (performance.now() < until) {
      const found = await this.#inspect(id);
      if (!found?.State.Running) return;
      await sleep(looksEveryMs);
    }
    await this.kill(id);
  }

  async kill(id: string): Promise<void> {
    const docker = await this.#docker();
    // Before the engine is asked anything of it: it may not say.
    await killGroup(groupNamed(id));
    const found = await this.#inspect(id);
    if (!found?.State.Running) return;
    await killContainer(docker.getContainer(id), freezerOfProcess(found.State.Pid));
  }

  async remove(id: string): Promise<void> {
    const docker = await this.#docker();
    const found = await this.#inspect(id);
    if (found === null) return;
    await removeContainer(docker.getContainer(id)).catch((cause) =>
      failed("GitLab's container cannot be removed", cause),
    );
    for (const name of Object.keys(found.NetworkSettings.Networks ?? {}))
      if (name.startsWith('autogit-gitlab-')) await removeNetwork(docker, name);
  }

  async makeNetwork(spec: ServiceNetwork): Promise<void> {
    await this.#network(spec).catch((cause) => failed('the engine makes no network for GitLab', cause));
  }

  async dropNetwork(data: string): Promise<void> {
    const name = serviceName(data);
    // Nobody may have waited for it.
    await this.#networks.get(name)?.catch(() => undefined);
    await removeNetwork(await this.#docker(), name);
  }

  #docker(): Promise<Docker> {
    return this.#connection.docker();
  }

  async #inspect(id: string): Promise<Docker.ContainerInspectInfo | null> {
    const docker = await this.#docker();
    const inspect = () => docker.getContainer(id).inspect();
    try {
      return await inspect().catch((cause: unknown) => {
        if (isSilent(cause) && endStuckExecs(id)) return inspect();
        throw cause;
      });
    } catch (cause) {
      if (statusOf(cause) === 404) return null;
      return failed("the engine does not say how GitLab's container is", cause);
    }
  }

  #network(spec: ServiceNetwork): Promise<void> {
    const name = serviceName(spec.data);
    const made =
      this.#networks.get(name) ??
      this.#docker()
        .then((docker) => madeNetwork(docker, name, spec))
        .finally(() => void this.#networks.delete(name));
    this.#networks.set(name, made);
    return made;
  }
}

/** With the bridge's name that is wanted, made anew where it has another one. */
async function madeNetwork(docker: Docker, name: string, { bridge, data, mesh }: ServiceNetwork): Promise<void> {
  const option = 'com.docker.network.bridge.name';
  const there: { Options?: Record<string, string> } | null = await docker
    .getNetwork(name)
    .inspect()
    .catch((cause: unknown) => {
      if (statusOf(cause) !== 404) throw cause;
      return null;
    });
  if (there?.Options?.[option] === bridge) return;
  if (there !== null) await docker.getNetwork(name).remove();
  await docker.createNetwork({
    Name: name,
    Driver: 'bridge',
    CheckDuplicate: true,
    Labels: { [serviceLabels.data]: data, [serviceLabels.mesh]: mesh },
    Options: { [option]: bridge },
  });
}

/** 403: somebody else is in it; then it is no trouble to anybody. */
const removeNetwork = (docker: Docker, name: string): Promise<void> =>
  docker
    .getNetwork(name)
    .remove()
    .catch((cause: unknown) => (isEngineAway(cause) ? failed('no engine', cause) : undefined));

/** `no-docker` where nobody answered. */
function failed(what: string, cause: unknown): never {
  if (cause instanceof AutogitError) throw cause;
  if (isEngineAway(cause)) return noDocker(cause);
  throw new AutogitError('executor-failed', `${what}: ${sentenceOf(cause)}`, { cause });
}

async function lookAtImage(docker: Docker, name: string): Promise<ServiceImage | null> {
  try {
    const found = await docker.getImage(name).inspect();
    return { id: found.Id, arch: archOf(found.Architecture) };
  } catch (cause) {
    if (statusOf(cause) === 404) return null;
    return failed(`the engine cannot look up image ${name}`, cause);
  }
}

async function textOf(stream: NodeJS.ReadableStream): Promise<string> {
  const frames = new FrameReader([1, 2]);
  const kept: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream)
    for (const payload of frames.push(chunk as unknown as Buffer)) {
      if (size < mostOutBytes) kept.push(payload.subarray(0, mostOutBytes - size));
      size += payload.length;
    }
  return Buffer.concat(kept).toString('utf8');
}
