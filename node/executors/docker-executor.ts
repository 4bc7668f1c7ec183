import { join } from 'node:path';
import type Docker from 'dockerode';
import { containerHosts } from '../../gitlab-bridge/own-place.ts';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { type Clock, systemClock } from '../clock.ts';
import type { Log } from '../log.ts';
import type { Executor, ExecutorSpec, Workspace } from '../ports.ts';
import { beginContainer, type FoundContainer, type NewContainer } from './docker-begin.ts';
import { DockerConnection } from './docker-connection.ts';
import { containerName, labels } from './docker-container.ts';
import { runBytes } from './docker-disk.ts';
import { removeContainer } from './docker-ending.ts';
import { isLocal, statusOf, whileAway } from './docker-engine.ts';
import { ensureImage, type FoundImage } from './docker-image.ts';
import { DockerImages } from './docker-images.ts';
import { JobsNetwork, runBridge } from './docker-network.ts';
import { controlDir, type DockerRun, firstFiles } from './docker-run.ts';
import { runtimesOf, wantedRuntime } from './docker-runtimes.ts';
import { DockerServices, removeServices, type ServicesPlace } from './docker-services.ts';
import { LeftRuns } from './docker-sweep.ts';
import { type DockerTree, DockerTrees } from './docker-trees.ts';
import { lookUpUser } from './docker-user.ts';
import { DockerWorkspace } from './docker-workspace.ts';
import { withinEngine } from './engine-limits.ts';
import { dockerFeatures } from './features.ts';
import { GpuCanary } from './gpu-canary.ts';
import { ImageStore, isNoSpace } from './image-store.ts';
import { jobEnvironment, jobPaths } from './job-shell.ts';
import { type TreeLimits, usualTreeLimits } from './kept-trees.ts';
import { hasDriver, lacksToolkit, toolkitFix, toolkitProblem } from './nvidia-toolkit.ts';
import { authProblem } from './registry-login.ts';
import { startWithServices } from './services-start.ts';

export interface DockerExecutorOptions {
  /** Tells this agent's containers from other agents' on the same engine: a node's id or name, the same after a restart. */
  node: string;
  /** unix:///path or tcp://host:port. Without it: DOCKER_HOST, else the socket that is found (engine-socket.ts). */
  dockerHost?: string | null;
  /** For jobs that name no image. Null: they are refused. */
  defaultImage?: string | null;
  /** host:address lines for every container's hosts file, e.g. the mesh's GitLab. */
  extraHosts?: string[];
  /** What a job's owner should read in its trace: pulls, variables that no shell can hold. */
  note?: (run: string, sentence: string) => void;
  /** Where it is kept which images jobs pulled; without it none is ever removed. */
  home?: string | null;
  /** ms for the services of a job to become ready; without: as gitlab-runner. */
  servicesWaitMs?: number;
  /** See ImageOptions. */
  imageRoomPercent?: number;
  imageAgeMs?: number;
  /** What trees of projects stay for their next jobs. */
  trees?: TreeLimits;
  /** Projects whose jobs with the tag may use this engine. */
  engineForJobs?: readonly string[];
  log?: Pick<Log, 'info' | 'warn'>;
  clock?: Clock;
  /** For tests: other roots of /sys and /dev. */
  places?: { sys: string; dev: string };
  /** For tests: another driver, and how its cards are asked for. */
  canary?: Pick<ConstructorParameters<typeof GpuCanary>[0], 'version' | 'requests' | 'devices'>;
  /** For tests: what this machine has of NVIDIA's files. */
  exists?: (path: string) => boolean;
}

type OnMade = (place: Workspace) => Promise<void>;

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
  readonly #left: LeftRuns;
  readonly #images: DockerImages;
  readonly #trees: DockerTrees;
  readonly #canary: GpuCanary;

  constructor(options: DockerExecutorOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock();
    this.#engine = new DockerConnection(options.dockerHost ?? null, this.#clock);
    const common = {
      home: options.home ?? null,
      docker: () => this.#docker(),
      isLocal: isLocal(options.dockerHost ?? process.env.DOCKER_HOST ?? null),
      log: options.log ?? { info: () => undefined, warn: () => undefined },
      wallMs: this.#clock.wallMs,
    };
    this.#trees = new DockerTrees({ ...common, node: options.node, limits: options.trees ?? usualTreeLimits });
    this.#images = new DockerImages({
      ...common,
      roomPercent: options.imageRoomPercent ?? 15,
      ageMs: options.imageAgeMs ?? 30 * 86_400_000,
    });
    this.#store = new ImageStore(() => this.#engine.folder, this.#clock.bootMs);
    this.#left = new LeftRuns(options.node, () => this.#docker());
    const file = options.home ? join(options.home, 'gpu-driver') : null;
    this.#canary = new GpuCanary({ node: options.node, docker: () => this.#docker(), file, ...options.canary });
    this.#network = new JobsNetwork(options.node, this.#engine);
  }

  async check(): Promise<string> {
    const info = await this.#engine.info();
    if (info.OSType !== 'linux') throw new AutogitError('no-docker', `the engine runs ${info.OSType} containers`);
    const groups = `cgroup v${(info as { CgroupVersion?: string }).CgroupVersion ?? '1'}`;
    const gpus = lacksToolkit(info, this.#options.exists)
      ? `; jobs cannot use this machine’s NVIDIA GPU: ${toolkitFix}`
      : '';
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
    this.#left.engineIsBack();
  }

  giveBack(): Promise<boolean> {
    return this.#trees.giveBack();
  }

  workFolder(): string | null {
    return this.#engine.folder;
  }

  noRoom(): string | null {
    return this.#store.noRoom();
  }

  async gpuProblem(): Promise<string | null> {
    if (!hasDriver(this.#options.exists)) return null;
    const info = await this.#engine.info();
    return lacksToolkit(info, this.#options.exists) ? toolkitProblem : this.#canary.problem(info);
  }

  /** Nothing of the job has run before it is prepared, so an engine that goes away meanwhile is waited for. */
  prepare(spec: ExecutorSpec, signal: AbortSignal, onMade: OnMade = async () => undefined): Promise<Workspace> {
    this.#left.own.add(spec.run);
    return whileAway(() => this.#prepare(spec, signal, onMade), { signal })
      .finally(() => this.#images.release(spec.run))
      .catch((error: unknown) => {
        this.#left.own.delete(spec.run);
        // Nothing of the job has run, and nothing of it stays; unless it is prepared anew meanwhile.
        this.#left.removeLater(spec.run, 0, () => !this.#left.own.has(spec.run));
        if (isNoSpace(error)) this.#store.metFull(spec.image ?? this.#options.defaultImage ?? '');
        throw error;
      });
  }

  async #prepare(asked: ExecutorSpec, signal: AbortSignal, onMade: OnMade): Promise<Workspace> {
    signal.throwIfAborted();
    const { isolation = [] } = asked;
    const runtime = isolation.length > 0 ? wantedRuntime(isolation, await this.#engine.info()) : null;
    const name = asked.image ?? this.#options.defaultImage ?? null;
    if (name === null) throw noImage();
    const note = (sentence: string): void => this.#options.note?.(asked.run, sentence);
    const spec = withinEngine({ ...asked, runtime }, await this.#engine.lately(), note);
    const paths = jobPaths(spec, '/builds');
    for (const key of jobEnvironment(spec, paths).skipped)
      note(`variable ${key} has a name that no shell can hold and is not set`);
    const known = { ...spec, variables: spec.variablesAt?.(paths) ?? spec.variables };
    const planned = spec.servicesAt?.(paths) ?? { services: [], warnings: [] };
    const odd = authProblem(known.variables);
    for (const warning of [...(odd === null ? [] : [odd]), ...planned.warnings]) note(`WARNING: ${warning}`);
    const place = await this.#placeOf(spec);
    if (planned.services.length === 0) {
      const [image, network] = await Promise.all([this.#image(known, name, signal), this.#network.ensure(spec.run)]);
      const tree = await this.#trees.take(spec, signal);
      const workspace = await this.#begin({ spec, name, image, network, paths, signal, beside: null, tree });
      await onMade(workspace);
      return workspace;
    }
    return startWithServices({
      ...{ ...place, spec, signal, note, planned: planned.services },
      extraHosts: this.#hosts(),
      waitMs: this.#options.servicesWaitMs,
      takeTree: async (either) => {
        const tree = await this.#trees.take(spec, either);
        return tree && { tree, mount: tree.options(paths.projectDir).mount };
      },
      ownImage: (either) => this.#image(known, name, either),
      imageOf: (other, image, either) => this.#image({ ...other, variables: known.variables }, image, either),
      begin: (made) => this.#begin({ spec, name, paths, ...made }),
      onMade,
      isPodman: await this.#engine.isPodman(),
    });
  }

  #image(spec: ExecutorSpec, image: string, signal: AbortSignal): Promise<FoundImage> {
    const note = (sentence: string): void => this.#options.note?.(spec.run, sentence);
    return this.#docker().then((docker) => ensureImage({ docker, images: this.#images, spec, image, note, signal }));
  }

  async #placeOf({ run }: ExecutorSpec): Promise<ServicesPlace> {
    return { docker: await this.#docker(), node: this.#options.node, run };
  }

  #hosts(): string[] {
    return [...(this.#options.extraHosts ?? []), ...containerHosts()];
  }

  #begin(how: NewContainer): Promise<Workspace> {
    const { node, places, engineForJobs, note } = this.#options;
    return beginContainer(how, {
      ...{ engine: this.#engine, node, places, engineForJobs, note, extraHosts: this.#hosts() },
      find: (spec, tree) => this.#adopt(spec, '', tree),
      workspace: (...of) => this.#workspace(...of),
    });
  }

  async runtimes(): Promise<string[]> {
    return runtimesOf(await this.#engine.lately());
  }

  /** Without an engine nobody knows whether the run's container goes on: it is waited for until `signal` aborts. */
  adopt(spec: ExecutorSpec, handle: string, signal?: AbortSignal): Promise<Workspace | null> {
    this.#left.own.add(spec.run);
    const limitMs = signal ? Number.POSITIVE_INFINITY : 0;
    return whileAway(
      async () => {
        const found = await this.#adopt(spec, handle);
        // Nothing of the job has run; what stays here now is swept.
        if (found === null) await removeServices(await this.#placeOf(spec)).catch(() => undefined);
        return found?.workspace ?? null;
      },
      { limitMs, ...(signal && { signal }) },
    );
  }

  /** `taken`: the tree that this try has taken already. */
  async #adopt(spec: ExecutorSpec, handle: string, taken: DockerTree | null = null): Promise<FoundContainer | null> {
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
    const services = await DockerServices.find(await this.#placeOf(spec));
    const keeper = label[labels.keeper] === '2' ? 2 : 1;
    const memoryBytes = found.HostConfig.Memory || null;
    const user = await lookUpUser(container, spec.run, label[labels.user] ?? '');
    const key = label[labels.tree];
    const tree = taken?.isOf(key) ? taken : await this.#trees.adopt(spec.run, key, label[labels.treeProject]);
    tree?.adoptedBy(user);
    const hasBridge = services === null && found.HostConfig.NetworkMode === runBridge(spec.run);
    const made = { nonce, keeper, memoryBytes, services, hasBridge, tree } as const;
    const workspace = this.#workspace(docker, spec, found.Id, made, user);
    const hasBegun = await workspace.resumeTimeouts();
    return { workspace, containerId: found.Id, hasBegun };
  }

  sweep(known: ReadonlySet<string>): Promise<string[]> {
    return this.#left.sweep(known);
  }

  async usedBytes(handle: string, device: number): Promise<number> {
    return runBytes(await this.#docker(), handle, device);
  }

  async tidy(): Promise<void> {
    await Promise.all([this.#images.tidy(), this.#trees.tidy()]);
  }

  #docker(): Promise<Docker> {
    return this.#engine.docker();
  }

  #workspace(
    docker: Docker,
    spec: ExecutorSpec,
    containerId: string,
    made: Pick<DockerRun, 'nonce' | 'keeper' | 'memoryBytes' | 'services' | 'hasBridge' | 'tree'>,
    user: { uid: number; gid: number },
  ) {
    const paths = jobPaths(spec, '/builds');
    return new DockerWorkspace({
      docker,
      containerId,
      name: containerName(spec.run),
      run: spec.run,
      ...made,
      paths,
      controlDir: controlDir(paths),
      user,
      firstFiles: firstFiles(jobEnvironment(spec, paths), paths, user),
      clock: this.#clock,
      node: this.#options.node,
      onRemoved: () => this.#images.tidyAfterRun(),
      onLeft: () => this.#left.removeLater(spec.run),
    });
  }
}

const noImage = (): AutogitError =>
  new AutogitError('image-missing', 'the job names no image, and this node has no default', {
    hint: 'add image: to the job, or start this node with --default-image NAME, which is defaultImage: in its autogit.yml',
  });
