/** Which hosted GitLab a container is, by its labels. */
export interface ServiceKey {
  mesh: string;
  /** The node that started it. */
  host: string;
  data: string;
  epoch: number;
}

/** Of a GitLab's own; it is found by the name of its data. */
export interface ServiceNetwork {
  mesh: string;
  data: string;
  /** What its bridge is called on this machine: the guard goes by that (SAFETY H1). */
  bridge: string;
}

/** One hosted GitLab as a container: no published port, no restart by the engine, a network of its own. */
export interface ServiceSpec extends ServiceKey, ServiceNetwork {
  /** Id of an image that is here: never a name, which may have become another image meanwhile. */
  imageId: string;
  hostname: string;
  env: Readonly<Record<string, string>>;
  /** Folders of this machine, which exist: their place in the container. */
  folders: Readonly<Record<string, string>>;
  shmBytes: number;
  /** 0: none. */
  memoryLimitBytes: number;
}

export interface FoundService extends ServiceKey {
  id: string;
  isRunning: boolean;
}

export interface ServiceLook {
  isRunning: boolean;
  /** By the engine: what the watchdog froze by the control group's files it does not know of. */
  isPaused: boolean;
  exitCode: number;
  isOutOfMemory: boolean;
  /** In its own network; null while it does not run. */
  address: string | null;
  pid: number | null;
  /** The control group that freezes it; null while it does not run, or where this machine cannot see it. */
  cgroup: string | null;
  memory: { usedBytes: number; limitBytes: number } | null;
  startedAtMs: number;
}

export interface ServiceImage {
  id: string;
  arch: string;
}

/** How far a pull is: bytes of all its layers, as far as the engine has told of them. */
export type PullProgress = (doneBytes: number, totalBytes: number) => void;

interface ExecEnd {
  code: number;
  /** Both of its streams, at most 1 MiB. */
  out: string;
}

/**
 * What runs GitLab on this machine. Every call ends in a time of its own, also where the engine takes it and never answers.
 * Throws AutogitError `no-docker` while there is no engine, `image-missing`, `executor-failed`.
 */
export interface ServiceHost {
  check(): Promise<{ arch: string }>;
  /** Null when it is not here and may not be pulled. A pull has no end of its own but silence: `signal` gives it up. */
  image(
    name: string,
    how: { pull: boolean; onProgress?: PullProgress; signal: AbortSignal },
  ): Promise<ServiceImage | null>;
  /** The one of that key, running: made when it is not there, begun when it stands; one that was made of another spec is made anew. */
  start(spec: ServiceSpec): Promise<string>;
  /**
   * A clone of that key that runs without network (clone/): it has the network of `spec`, and is found as GitLab from then on. It may be
   * asked again where it came to no end. Throws also where it does not run any more.
   */
  takeIn(id: string, spec: ServiceSpec): Promise<void>;
  /** The network that `start` and `takeIn` need, beforehand: to make one takes the engine as long as to connect to it. */
  makeNetwork(spec: ServiceNetwork): Promise<void>;
  /** Once nobody is in it; one that is not there is no error. */
  dropNetwork(data: string): Promise<void>;
  /** All of that mesh on this engine, whether they run or not. */
  find(mesh: string): Promise<FoundService[]>;
  /** Null when it is not there. */
  look(id: string): Promise<ServiceLook | null>;
  /** As root inside, `input` by its standard input: no secret stands among arguments. Throws `timed-out`. */
  exec(id: string, argv: readonly string[], how: { input?: string; timeoutMs: number }): Promise<ExecEnd>;
  /** The end of what it wrote. */
  lastWords(id: string, lines: number): Promise<string>;
  /** Its services are told to end; killed after `graceMs`. */
  stop(id: string, graceMs: number): Promise<void>;
  /** SIGKILL, also of a frozen one; returns when it does not run. */
  kill(id: string): Promise<void>;
  /** With its network. What it had mounted stays. */
  remove(id: string): Promise<void>;
}
