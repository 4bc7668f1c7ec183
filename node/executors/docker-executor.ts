import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import type Docker from 'dockerode';
import { containerHosts } from '../../gitlab-bridge/own-place.ts';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { type Clock, systemClock } from '../clock.ts';
import type { Log } from '../log.ts';
import type { Executor, ExecutorSpec, Workspace } from '../ports.ts';
import { DockerConnection } from './docker-connection.ts';
import { containerName, containerOptions, labels } from './docker-container.ts';
import { containerBytes } from './docker-disk.ts';
import { removeContainer } from './docker-ending.ts';
import { isEngineAway, isLocal, statusOf, whileAway } from './docker-engine.ts';
import { ensureImage } from './docker-image.ts';
import { DockerImages } from './docker-images.ts';
import { JobsNetwork } from './docker-network.ts';
import { controlDir, type DockerRun, firstFiles } from './docker-run.ts';
import { lookUpUser } from './docker-user.ts';
import { DockerWorkspace } from './docker-workspace.ts';
import { dockerFeatures } from './features.ts';
import { ImageStore, isNoSpace } from './image-store.ts';
import { jobEnvironment, jobPaths } from './job-shell.ts';
import { hasDriver, lacksToolkit, toolkitFix, toolkitProblem } from './nvidia-toolkit.ts';

export interface DockerExecutorOptions {
  /** Tells this agent's containers from other agents' on the same engine: a node's id or name, the same after a restart. */
  node: string;
  /** unix:///path or tcp://host:port. Without it: DOCKER_HOST, else /var/run/docker.sock. */
  dockerHost?: string | null;
  /** For jobs that name no image. Null: they are refused. */
  defaultImage?: string | null;
  /** host:address lines for every container's hosts file, e.g. the mesh's GitLab. */
  extraHosts?: string[];
  /** What a job's owner should read in its trace: pulls, variables that no shell can hold. */
  note?: (run: string, sentence: string) => void;
  /** Where it is kept which images jobs pulled; without it none is ever removed. */
  home?: string | null;
  /** See ImageOptions. */
  imageRoomPercent?: number;
  imageAgeMs?: number;
  log?: Pick<Log, 'info' | 'warn'>;
  clock?: Clock;
  /** For tests: what this machine has of NVIDIA's files. */
  exists?: (path: string) => boolean;
}

/** What could not be removed or looked at is tried again so often. */
const againMs = 5000;

/** One container per run (DESIGN §9). */
export class DockerExecutor implements Executor {
  readonly kind = 'docker';
  readonly features = dockerFeatures;
  readonly #engine: DockerConnection;
  readonly #options: DockerExecutorOptions;
  readonly #clock: Clock;
  readonly #network: JobsNetwork;
  #wasAway = false;
  readonly #store: ImageStore;
  /** Runs of before this process. */
  #known: ReadonlySet<string> | null = null;
  /** Runs that this process has made or looked for. */
  readonly #own = new Set<string>();
  readonly #images: DockerImages;

  constructor(options: DockerExecutorOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock();
    this.#engine = new DockerConnection(options.dockerHost ?? null, this.#clock);
    this.#images = new DockerImages({
      home: options.home ?? null,
      docker: () => this.#docker(),
      isLocal: isLocal(options.dockerHost ?? process.env.DOCKER_HOST ?? null),
      roomPercent: options.imageRoomPercent ?? 15,
      ageMs: options.imageAgeMs ?? 30 * 86_400_000,
      log: options.log ?? { info: () => undefined, warn: () => undefined },
      wallMs: this.#clock.wallMs,
    });
    this.#store = new ImageStore(() => this.#engine.folder, this.#clock.bootMs);
    this.#network = new JobsNetwork(options.node, () => this.#docker());
  }

  async check(): Promise<string> {
    const info = await this.#engine.info();
    if (info.OSType !== 'linux') throw new AutogitError('no-docker', `the engine runs ${info.OSType} containers`);
    const groups = `cgroup v${(info as { CgroupVersion?: string }).CgroupVersion ?? '1'}`;
    const gpus = lacksToolkit(info) ? `; jobs cannot use this machine’s NVIDIA GPU: ${toolkitFix}` : '';
    return `Docker Engine ${info.ServerVersion} (${info.Driver}, ${groups})${gpus}`;
  }

  async ready(): Promise<void> {
    try {
      await this.#engine.look();
    } catch (error) {
      this.#wasAway = true;
      throw error;
    }
    if (!this.#wasAway) return;
    this.#wasAway = false;
    // A call that was called off may have been done after all: a container of a job that has failed since.
    const known = this.#known;
    if (known) void this.#sweep((run) => known.has(run) || this.#own.has(run)).catch(() => undefined);
  }

  workFolder(): string | null {
    return this.#engine.folder;
  }

  noRoom(): string | null {
    return this.#store.noRoom();
  }

  async gpuProblem(): Promise<string | null> {
    const exists = this.#options.exists ?? existsSync;
    if (!hasDriver(exists)) return null;
    const info = await this.#engine.info();
    return lacksToolkit(info, exists) ? toolkitProblem : null;
  }

  /** Nothing of the job has run before it is prepared, so an engine that goes away meanwhile is waited for. */
  prepare(spec: ExecutorSpec, signal: AbortSignal): Promise<Workspace> {
    this.#own.add(spec.run);
    return whileAway(() => this.#prepare(spec, signal), { signal })
      .finally(() => this.#images.release(spec.run))
      .catch((error: unknown) => {
        this.#own.delete(spec.run);
        if (isNoSpace(error)) this.#store.metFull(spec.image ?? this.#options.defaultImage ?? '');
        throw error;
      });
  }

  async #prepare(spec: ExecutorSpec, signal: AbortSignal): Promise<Workspace> {
    signal.throwIfAborted();
    const name = spec.image ?? this.#options.defaultImage ?? null;
    if (name === null)
      throw new AutogitError('image-missing', 'the job names no image, and this node has no default', {
        hint: 'add image: to the job, or start this node with --default-image NAME, which is defaultImage: in its autogit.yml',
      });
    const note = (sentence: string): void => this.#options.note?.(spec.run, sentence);
    const docker = await this.#docker();
    const [image, network] = await Promise.all([
      ensureImage({ docker, images: this.#images, spec, image: name, note, signal }),
      this.#network.ensure(),
    ]);
    signal.throwIfAborted();
    const paths = jobPaths(spec, '/builds');
    for (const key of jobEnvironment(spec, paths).skipped)
      note(`variable ${key} has a name that no shell can hold and is not set`);
    const nonce = randomBytes(16).toString('hex');
    const wantedUser = spec.imageUser ?? image.user;
    const numeric = /^(\d*)(?::(\d+))?$/.exec(wantedUser);
    let user = numeric ? { uid: Number(numeric[1] || 0), gid: Number(numeric[2] ?? 0) } : null;
    const options = containerOptions({
      spec,
      image: image.id,
      node: this.#options.node,
      nonce,
      user: wantedUser,
      controlDir: controlDir(paths),
      network,
      extraHosts: [...(this.#options.extraHosts ?? []), ...containerHosts()],
    });
    const made = { nonce, keeper: 2 as const, memoryBytes: spec.memoryBytes };
    let found: Workspace | null = null;
    let container: Docker.Container;
    try {
      container = await docker.createContainer(options).catch(async (cause: unknown) => {
        // SAFETY J4: containers are named by their run, so a name that is taken is this run, from before a crash, or of a
        // call that was not answered. One that never began is removed: it is made anew.
        if (statusOf(cause) !== 409) throw cause;
        found = await this.#adopt(spec, containerName(spec.run));
        return found ? docker.getContainer(found.handle) : docker.createContainer(options);
      });
    } catch (cause) {
      throw new AutogitError('executor-failed', `cannot create a container of ${name}: ${sentenceOf(cause)}`, {
        cause,
      });
    }
    if (found) return found;
    try {
      user ??= await lookUpUser(container, spec.run, wantedUser);
      const workspace = this.#workspace(docker, spec, container.id, made, user);
      await workspace.attach();
      await container.start();
      signal.throwIfAborted();
      return workspace;
    } catch (cause) {
      await removeContainer(container).catch(() => undefined);
      signal.throwIfAborted();
      throw new AutogitError('executor-failed', `cannot start a container of ${name}: ${sentenceOf(cause)}`, {
        cause,
        ...(/exec: "sh"|no such file/.test(sentenceOf(cause)) && {
          hint: `image ${name} has no sh, which a job needs`,
        }),
      });
    }
  }

  /** Without an engine nobody knows whether the run's container goes on: it is waited for until `signal` aborts. */
  adopt(spec: ExecutorSpec, handle: string, signal?: AbortSignal): Promise<Workspace | null> {
    this.#own.add(spec.run);
    const limitMs = signal ? Number.POSITIVE_INFINITY : 0;
    return whileAway(() => this.#adopt(spec, handle), { limitMs, ...(signal && { signal }) });
  }

  async #adopt(spec: ExecutorSpec, handle: string): Promise<Workspace | null> {
    const docker = await this.#docker();
    let found: Docker.ContainerInspectInfo;
    try {
      found = await docker.getContainer(handle === '' ? containerName(spec.run) : handle).inspect();
    } catch (cause) {
      if (statusOf(cause) === 404) return null;
      throw new AutogitError('no-docker', `cannot look for run ${spec.run}: ${sentenceOf(cause)}`, { cause });
    }
    const label = found.Config.Labels;
    const nonce = label[labels.nonce];
    if (label[labels.run] !== spec.run || label[labels.node] !== this.#options.node || !nonce) return null;
    const container = docker.getContainer(found.Id);
    // Created but never started: the agent died in between, and nothing of the job has run. Begin afresh.
    if (found.State.Status === 'created') {
      await removeContainer(container);
      return null;
    }
    const keeper = label[labels.keeper] === '2' ? 2 : 1;
    const memoryBytes = found.HostConfig.Memory || null;
    const user = await lookUpUser(container, spec.run, label[labels.user] ?? '');
    const workspace = this.#workspace(docker, spec, found.Id, { nonce, keeper, memoryBytes }, user);
    await workspace.resumeTimeouts();
    return workspace;
  }

  async sweep(known: ReadonlySet<string>): Promise<string[]> {
    this.#known = known;
    try {
      return await this.#sweep((run) => known.has(run));
    } catch (error) {
      // Done when the engine is back; what this process has made or found since is no left-over.
      if (isEngineAway(error))
        setTimeout(() => void this.sweep(new Set([...known, ...this.#own])).catch(() => undefined), againMs).unref();
      throw error;
    }
  }

  async #sweep(isKept: (run: string) => boolean): Promise<string[]> {
    const filters = { label: [`${labels.node}=${this.#options.node}`] };
    const docker = await this.#docker();
    const found = await docker.listContainers({ all: true, filters }).catch((cause: unknown) => {
      throw new AutogitError('no-docker', `cannot list containers: ${sentenceOf(cause)}`, { cause });
    });
    const removed: string[] = [];
    for (const { Id, Labels } of found) {
      const run = Labels[labels.run] ?? '';
      if (isKept(run)) continue;
      await removeContainer(docker.getContainer(Id));
      removed.push(run);
    }
    return removed;
  }

  /** Until it is gone: the engine may be away for long. */
  #removeLater(container: Docker.Container): void {
    const timer = setTimeout(() => {
      removeContainer(container).catch(() => this.#removeLater(container));
    }, againMs);
    timer.unref();
  }

  async usedBytes(handle: string, device: number): Promise<number> {
    return containerBytes(await this.#docker(), handle, device);
  }

  tidy(): Promise<void> {
    return this.#images.tidy();
  }

  #docker(): Promise<Docker> {
    return this.#engine.docker();
  }

  #workspace(
    docker: Docker,
    spec: ExecutorSpec,
    containerId: string,
    { nonce, keeper, memoryBytes }: Pick<DockerRun, 'nonce' | 'keeper' | 'memoryBytes'>,
    user: { uid: number; gid: number },
  ) {
    const paths = jobPaths(spec, '/builds');
    return new DockerWorkspace({
      docker,
      containerId,
      name: containerName(spec.run),
      run: spec.run,
      nonce,
      keeper,
      memoryBytes,
      paths,
      controlDir: controlDir(paths),
      user,
      firstFiles: firstFiles(jobEnvironment(spec, paths), paths, user),
      clock: this.#clock,
      onRemoved: () => this.#images.tidyAfterRun(),
      onLeft: (id) => this.#removeLater(docker.getContainer(id)),
    });
  }
}
