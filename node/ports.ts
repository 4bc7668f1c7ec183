import type { PlannedServices } from '../gitlab-bridge/job-services.ts';
import type { Answer, Ask } from '../protocol/asks.ts';
import type { NodeId } from '../protocol/ids.ts';
import type { Era, Ledger, Run } from '../protocol/ledger.ts';
import type { PeerMessage } from '../protocol/messages.ts';
import type { Gpu, Measured, Report } from '../protocol/report.ts';
import type { Durable, Write } from '../scheduler/effects.ts';
import type { ProbeResult } from '../scheduler/inputs.ts';
import type { Isolation } from '../scheduler/jobs/runtimes.ts';

/** The ports of the shell: what agent.ts needs of the world. Each has one contract suite in test/contract. */

/** libp2p, behind one module. Best effort: `send` drops when there is no stream; the core repeats itself. */
export interface Network {
  readonly self: NodeId;
  /** Multiaddrs that other machines can reach, filtered by interface. */
  addresses(): string[];
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Members and their known addresses: gate, redial and gossip follow at once. `null` ledger = stranger everywhere. */
  setLedger(ledger: Ledger | null): void;
  /** `era`: what its envelope says; without it the ledger's. */
  send(to: NodeId, message: PeerMessage, era?: Era): void;
  /** Ends the link to a member that broke the rules; it is made anew, after a pause. */
  cut(node: NodeId, because: string): void;
  publish(report: Report): void;
  /** For so long this agent is to all others as one that was killed; it ends by itself. Resolves when it has begun. */
  isolate(forMs: number): Promise<void>;
  ask(to: NodeId, ask: Ask, timeoutMs: number): Promise<Answer>;
  /** One TCP connect to the machine's agent port, answered by its kernel. Never throws. */
  probe(node: NodeId): Promise<{ result: ProbeResult; tookMs: number }>;
  connected(): NodeId[];
  /** Addresses (host:port) at which a node is connected now, for status; null when it is not. */
  addressOf(node: NodeId): string | null;
  /** `problems`: why machines may not find each other here, as sentences with what to type; empty when all looks well. */
  readonly diagnosis: { problems(): string[] };
}

/** What the network tells the agent. Every message has passed the codec and the member check. */
export interface NetworkEvents {
  message(from: NodeId, message: PeerMessage, era: Era | null): void;
  report(from: NodeId, report: Report): void;
  connected(node: NodeId): void;
  disconnected(node: NodeId): void;
  ask(from: NodeId, ask: Ask): Promise<Answer>;
}

/** level on disk. All writes of one call are one batch with fsync. Throws AutogitError store-*. */
export interface Store {
  readonly id: string;
  load(): Promise<Durable>;
  write(writes: Write[]): Promise<void>;
  /** Run records of this node, kept until delivered (SAFETY J4). fsync each. */
  putRun(run: LocalRun): Promise<void>;
  deleteRun(run: string): Promise<void>;
  runs(): Promise<LocalRun[]>;
  /** Small facts of the shell: the mesh key (sealed, see mesh-key.ts), known addresses, port. */
  get(key: string): Promise<string | null>;
  put(key: string, value: string): Promise<void>;
  /** Writes all of it anew, so that nothing of what was overwritten or removed is left in its files. */
  rewrite(): Promise<void>;
  close(): Promise<void>;
}

/** A run as its node keeps it: the shared record, what GitLab answered, and where the trace stands. */
export interface LocalRun {
  run: Run;
  /** GitLab's 201 payload, as received (JSON text). Holds secrets: the store folder is 0700. */
  payload: string;
  url: string;
  /** Handle by which the executor finds it again after a restart. */
  handle: string | null;
  /** Bytes of trace that GitLab has acknowledged. */
  traceOffset: number;
  /** How far the run's own code got (JSON of node/runs/run-progress.ts). */
  progress?: string | undefined;
}

/** One step of a run: a shell script. Steps of one run share its file tree. */
export interface Step {
  name: string;
  /** Lines of a shell script; the executor runs them with `set -e` in the job's shell. */
  script: string[];
  /** ms; null = the run's own limit. */
  timeoutMs: number | null;
}

export interface ExecutorSpec {
  run: string;
  job: number;
  image: string | null;
  /** Null: the image's own; `['']`: none. */
  entrypoint: string[] | null;
  /** The user that the job asks for; else the image's own. */
  imageUser?: string | null;
  /** os/architecture[/variant] of the image; else the engine's own. */
  platform?: string | null;
  /** As the job has them, tried in order; empty or left out: the executor's own. */
  pullPolicies?: string[];
  /** What runs beside the job, once the place is known; left out: nothing. */
  servicesAt?: (place: { projectDir: string; buildsDir: string }) => PlannedServices;
  /** Logins of registries that GitLab gives with the job. */
  logins?: { url: string; username: string; password: string }[];
  /** Whose job it is, at which GitLab: what one project's login opened is not another's. */
  project?: string;
  /** Where the tree lies, and whether it may stay for later jobs; left out: a place of the run's own. */
  tree?: TreeWish;
  /** GIT_CLONE_PATH, by CI_BUILDS_DIR; null: the usual place. */
  clonePathAt?: (buildsDir: string) => string | null;
  variables: { key: string; value: string; file: boolean }[];
  /** The same once the place is known: expanded, with the runner's own. What a step's environment and files are made of. */
  variablesAt?: (place: { projectDir: string; buildsDir: string }) => ExecutorSpec['variables'];
  cpuMillis: number | null;
  memoryBytes: number | null;
  gpus: Gpu[];
  /** What it is to be isolated by beyond a container; absent or empty: nothing. An executor that cannot refuses it. */
  isolation?: readonly Isolation[];
  /** The engine's runtime that does so, as its executor has found it. */
  runtime?: string | null;
  /** It was placed by the tag for an engine; left out: it wants none. */
  engine?: { project: string | null } | null;
}

/** A tree that jobs of one project may have in turn. */
export interface TreeWish {
  key: string;
  /** Whose it is, at which GitLab. */
  project: string;
  /** What the last of them left is wanted, and this one's may stay. */
  isKept: boolean;
  /** It begins empty whatever they left. */
  isFresh: boolean;
  /** Only one that is there already is of use. */
  isOnlyLeft: boolean;
}

/** A place whose tree stays for later jobs. */
export interface KeptTree {
  /** A job before left its tree there; else it is empty. */
  readonly isLeft: boolean;
  /**
   * Runs a shell script in it as the job's user, where it can do no more than the job could, with git and the least of
   * commands. `environment`: all that it gets beside PATH. Throws executor-failed where it cannot be begun.
   */
  run(script: string, args: string[], environment: Record<string, string>, signal: AbortSignal): Promise<InTree>;
  /** Nothing of it is left for this job. */
  empty(): Promise<void>;
  /** It goes with the run. */
  forget(): Promise<void>;
}

export interface InTree {
  input: NodeJS.WritableStream;
  output: NodeJS.ReadableStream;
  /** Its exit code, and what it said beside its output: the last 64 KiB. */
  ended: Promise<{ code: number; said: string }>;
}

/** How a step ended. `because`: more than its exit code says, e.g. which limit it met. `lost`: after a restart neither process nor exit code is there (SAFETY J4); `isUnclear`: by this machine, or by what the job asked for. */
export type StepEnd =
  | { kind: 'exited'; exitCode: number; because?: string }
  | { kind: 'killed'; because: string }
  | { kind: 'lost'; because: string; isUnclear?: true };

/**
 * Where a run lives: docker or process. The run's code talks to this only. Everything of a run is labelled with its id,
 * and survives the agent: `adopt` finds it again.
 */
export interface Executor {
  readonly kind: 'docker' | 'process';
  /** Features of GitLab's list that it has; a job that needs more is refused by GitLab itself. */
  readonly features: readonly string[];
  /** Says in words whether it works here; throws AutogitError with the fix when it does not. */
  check(): Promise<string>;
  /** A cheap look before a job is asked for, so that none is taken that cannot begin; throws as `check` does. */
  ready?(): Promise<void>;
  /** Why it cannot give NVIDIA's GPUs to jobs now, in a sentence; null when it can. Cheap: asked every 10 s. */
  gpuProblem?(): Promise<string | null>;
  /** Runtimes by which it can isolate jobs beyond its usual way. Cheap: asked every 10 s. */
  runtimes?(): Promise<string[]>;
  /** What a run's place has of a disk of this machine (stat's dev); 0 when it lies elsewhere or does not say within seconds. */
  usedBytes?(handle: string, device: number): Promise<number>;
  /** Gives back what runs left for later ones; called at a slow interval. */
  tidy?(): Promise<void>;
  /** All that is kept for later jobs and that none has now, on a disk that is full; false where there was nothing of that. */
  giveBack?(): Promise<boolean>;
  /** Where runs write, as far as it is known and on this machine. */
  workFolder?(): string | null;
  /** Why no other job should begin here, as a job before it has found out; null when it may. */
  noRoom?(): string | null;
  /**
   * `onMade` hears of the place when it stands and nothing of the job runs beside it yet, and services wait for what it answers:
   * they may begin (SAFETY J1). An executor that lost its engine meanwhile begins anew and tells of the new place; one without
   * services need not tell.
   */
  prepare(spec: ExecutorSpec, signal: AbortSignal, onMade?: (place: Workspace) => Promise<void>): Promise<Workspace>;
  /**
   * Finds what `prepare` made before a restart; null when nothing of it is left. Where that cannot be known now (an engine
   * that is away) it waits until `signal` aborts; without one it throws.
   */
  adopt(spec: ExecutorSpec, handle: string, signal?: AbortSignal): Promise<Workspace | null>;
  /** Removes what no known run owns (labels), also after a crash. Returns the ids of what it removed. */
  sweep(known: ReadonlySet<string>): Promise<string[]>;
}

/** ms from SIGTERM to SIGKILL when a script is ended, by a person or by its limit. */
export const killGraceMs = 10_000;

/**
 * A control group's folder, or what the processes to stop by signal are known by (executors/run-processes.ts). `also`: the
 * groups of its services. `marker`: the run, which those that an earlier agent began have as `AUTOGIT_RUN` in their environment.
 */
export type Freezer =
  | { kind: 'cgroup'; path: string; also?: string[] | undefined }
  | {
      kind: 'pgid';
      marker: string;
      marks?: { entries: string[]; places: string[]; uid: number; isUidAlone: boolean } | undefined;
    };

/** Bytes that a place of a job gives. */
export interface TreeRead {
  /** A chunk is the reader's until it asks for the next one: its memory is used again. */
  bytes: AsyncIterable<Uint8Array>;
  /** What was wrong on the way without ending it, such as files that may not be read. Ask at the end of the bytes. */
  complaint(): Promise<string>;
  /** Ends it at once, also when it hangs. */
  close(): void;
}

/** What runs beside a job (`services:`), for its trace. */
export interface ServicesBeside {
  /**
   * What they print, in whole lines with the time in front, as it comes; until they have ended, or `signal` aborts. `name`:
   * the service's aliases. `since`: the time of its last line that is known already.
   */
  follow(
    since: (name: string) => string | null,
    onLines: (name: string, lines: string[]) => void,
    signal: AbortSignal,
  ): Promise<void>;
  /** Those that ended otherwise than well, in a sentence each with their last lines. Never throws. */
  ended(): Promise<string[]>;
}

export interface Workspace {
  readonly handle: string;
  /** CI_BUILDS_DIR. */
  readonly buildsDir?: string;
  /** Null, or left out: its tree goes with it. */
  readonly tree?: KeptTree | null;
  /** Null, or left out: nothing runs beside it. */
  readonly services?: ServicesBeside | null;
  /** Path of the project's tree as the job sees it (CI_PROJECT_DIR). */
  readonly projectDir: string;
  /**
   * Puts a tar stream's files under a path of the job's tree; relative paths count from projectDir. Folders on the way
   * are made; everything comes to belong to the job's user, whatever the tar says. Throws executor-failed.
   * `isPlain`: each folder stands in it before what is in it, and all is 0:0's, so there may be nothing to change.
   */
  putTar(path: string, tar: NodeJS.ReadableStream, isPlain?: boolean): Promise<void>;
  /**
   * Names of everything at and below some paths of the tree, as bytes, relative to projectDir (`./` may stand before
   * them), a NUL after each; nothing for a path that does not exist. Links are not followed.
   */
  listFiles(paths: string[]): Promise<TreeRead>;
  /**
   * Tar streams in a row that hold the named files, folders (without what is in them) and links, and perhaps more.
   * `names`: as `listFiles` gave them. `paths`: what was asked of it, for places where names cannot be asked for.
   */
  readFiles(names: Uint8Array, paths: string[]): Promise<TreeRead>;
  /** Begins a step. It goes on when the agent dies; its output is kept by the executor. */
  start(step: Step, index: number): Promise<void>;
  /** Output bytes of the step from an offset, as they come, until its end. Can be called again after a restart. */
  output(index: number, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** Resolves when the step has ended; also for a step begun before a restart. */
  ended(index: number): Promise<StepEnd>;
  /** Terminates what runs: SIGTERM, then SIGKILL after graceMs. */
  kill(graceMs: number): Promise<void>;
  freeze(): Promise<void>;
  thaw(): Promise<void>;
  /** How the watchdog freezes it without agent and engine (SAFETY J1, H3); null where it cannot (a remote engine). */
  freezer?(): Promise<Freezer | null>;
  remove(): Promise<void>;
}

/** A process that has something in GPU memory; `bytes` null where the driver does not tell. */
export interface GpuUse {
  pid: number;
  bytes: number | null;
}

/** Moves what processes have in GPU memory into main memory, and back. The processes must run, not be frozen. */
export interface GpuSuspender {
  /** Which of these processes have something there, as far as the driver names them. Throws AutogitError where nobody tells. */
  usesOf(pids: ReadonlySet<number>): Promise<GpuUse[]>;
  /** Why it cannot be done with these, in words, before anything is touched; null when it can be tried. */
  refusal(uses: readonly GpuUse[]): Promise<string | null>;
  /** Throws AutogitError with the driver's words; what was moved by then is back. */
  suspend(uses: readonly GpuUse[]): Promise<void>;
  /** Leaves those alone that are not suspended, as far as the driver tells. Throws AutogitError with the driver's words. */
  resume(pids: readonly number[]): Promise<void>;
}

/** The machine: capacity, load, GPUs, clocks. */
export interface Machine {
  measure(): Promise<Measured>;
  /** ms of boot time, fresh. */
  bootMs(): number;
  bootId(): string;
}
