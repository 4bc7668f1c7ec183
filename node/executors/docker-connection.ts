import { existsSync } from 'node:fs';
import type Docker from 'dockerode';
import type { Clock } from '../clock.ts';
import { dockerAddress } from '../machine/docker-ask.ts';
import { withDeadlines } from './docker-deadlines.ts';
import { addressOf, noDocker, refuseSsh, withLimit } from './docker-engine.ts';

const connectMs = 5000;
/** Between two looks at all of the engine. */
const lookEveryMs = 60_000;

type SystemInfo = Awaited<ReturnType<Docker['info']>>;

const isPodman = (version: object): boolean =>
  ((version as { Components?: { Name?: string }[] }).Components ?? []).some(({ Name }) => Name === 'Podman Engine');

/** This node's way to its engine, and whether the engine answers. */
export class DockerConnection {
  readonly #named: string | null;
  /** Until one answers it is looked for anew: it may be installed, or started, later. */
  #hasAnswered = false;
  #isPodman: Promise<boolean> | null = null;
  #at: string | null = null;
  readonly #clock: Pick<Clock, 'bootMs'>;
  #engine: Promise<Docker> | null = null;
  /** A call was not answered: what a ping says is not enough then. */
  #isDoubtful = false;
  #said: SystemInfo | null = null;
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  /** Where the engine keeps images and containers on this machine; null when it is not known, or elsewhere. */
  folder: string | null = null;

  /** `named`: unix:///path or tcp://host:port; null: by DOCKER_HOST, else the socket that is found. */
  constructor(named: string | null, clock: Pick<Clock, 'bootMs'>) {
    this.#named = named;
    addressOf(named);
    this.#clock = clock;
  }

  /** Loaded when it is first needed: dockerode costs an agent that only runs processes 20 MiB and 100 ms. */
  docker(): Promise<Docker> {
    refuseSsh(this.#named);
    const at = this.#hasAnswered ? this.#at : dockerAddress(this.#named, { forJobs: true });
    if (at !== this.#at) this.#engine = this.#isPodman = null;
    this.#at = at;
    // By DOCKER_HOST dockerode knows of TLS and its files.
    const address = addressOf(at === process.env.DOCKER_HOST ? this.#named : at);
    this.#engine ??= import('dockerode').then(({ default: Engine }) =>
      withDeadlines(new Engine(address), () => {
        this.#isDoubtful = true;
      }),
    );
    return this.#engine;
  }

  /** What it said of itself within the last minute or so, as long as jobs are taken here: `look` asks anew. */
  async lately(): Promise<SystemInfo> {
    return this.#said ?? (await this.info());
  }

  /** unix:///path or tcp://host:port of the engine that was found; null: by the usual way. */
  get address(): string | null {
    return this.#at;
  }

  /** What the engine says of itself. Throws `no-docker` when it does not answer. */
  async info(): Promise<SystemInfo> {
    const docker = await this.docker();
    const info = await withLimit(docker.info(), connectMs).catch(noDocker);
    this.#hasAnswered = true;
    this.#said = info;
    // By a socket file the engine is on this machine, and its folder is one of this machine.
    const isHere = typeof (docker.modem as { socketPath?: unknown }).socketPath === 'string';
    const { DockerRootDir } = info as { DockerRootDir?: string };
    this.folder = isHere && DockerRootDir && existsSync(DockerRootDir) ? DockerRootDir : null;
    return info;
  }

  /** Whether it is Podman, which answers as Docker does, but for what it says of its parts. */
  isPodman(): Promise<boolean> {
    this.#isPodman ??= this.docker()
      .then((docker) => docker.version())
      .then((version) => isPodman(version))
      .catch((error: unknown) => {
        this.#isPodman = null;
        throw error;
      });
    return this.#isPodman;
  }

  /** Throws `no-docker`. A ping is answered by an engine whose other half (containerd) stands still: now and then it is asked for more. */
  async look(): Promise<void> {
    const docker = await this.docker();
    const now = this.#clock.bootMs();
    if (!this.#isDoubtful && now - this.#lookedAtMs < lookEveryMs)
      return void (await withLimit(docker.ping(), connectMs).catch(noDocker));
    await this.info();
    this.#isDoubtful = false;
    this.#lookedAtMs = now;
  }
}
