import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { FailureCause } from '../../gitlab-bridge/failure-reason.ts';
import { type JobPayload, variableOf } from '../../gitlab-bridge/payload.ts';
import { imageOf, jobVariables, lookUpIn, payloadVariables, type RunFacts } from '../../gitlab-bridge/variables.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Run } from '../../protocol/ledger.ts';
import type { Gpu } from '../../protocol/report.ts';
import { archName } from '../../scheduler/jobs/demand.ts';
import type { Log } from '../log.ts';
import type { Executor, ExecutorSpec, LocalRun, Store } from '../ports.ts';
import type { GitlabReturn } from './gitlab-return.ts';
import type { Verdict } from './run-progress.ts';

/** What the desk, and every run on it, needs of this node. */
export interface RunDeskOptions {
  /** Says when a GitLab that was away answers again. */
  gitlabReturn?: GitlabReturn;
  self: NodeId;
  nodeName: string;
  version: string;
  /** GitLab tells machines that share a token apart by it, at most 64 characters. */
  systemId: string;
  store: Pick<Store, 'putRun' | 'deleteRun' | 'runs'>;
  /** Those that work here; the first is the default. */
  executors: Executor[];
  gitlabUrl(): string | null;
  seal(text: string): string;
  unseal(sealed: string): string;
  instance(): { uuid: string | null; epoch: number };
  clock: { bootMs(): number; wallMs(): number };
  /** Boot ms of the last proof that the leader leads; -Infinity when never. */
  leaderContactAt(): number;
  gpusByUuid(uuids: string[]): Gpu[];
  limitsFor(tags: string[]): { cpuMillis: number | null; memoryBytes: number | null };
  onRunChanged(run: Run): void;
  /** Whether the disk was full at some time since then (boot ms). */
  diskWasFull?(sinceBootMs: number): boolean;
  /** Resolves when a watchdog has read of the run (SAFETY J1): before that no step of it may begin. Throws when none does. */
  watched?(run: string, signal: AbortSignal): Promise<void>;
  log: Pick<Log, 'info' | 'warn' | 'error'>;
  /** Largest sum of the files of one artifact; a default when it is not set. */
  artifactLimitBytes?: number | undefined;
  /** The agent's home: traces lie in its folder `runs`, Git mirrors in `mirrors`. */
  home: string;
}

/** What an executor must know to make, or find, a run's place. The same in every agent process. */
export function executorSpec(
  local: LocalRun,
  payload: JobPayload,
  options: RunDeskOptions,
  factsAt: (place: { projectDir: string; buildsDir: string }) => RunFacts,
): ExecutorSpec {
  const nowhere = factsAt({ projectDir: '', buildsDir: '' });
  return {
    run: local.run.run,
    job: local.run.job,
    image: imageOf(payload, lookUpIn(jobVariables(payload, nowhere), '')),
    entrypoint: payload.image?.entrypoint ?? null,
    imageUser: payload.image?.executor_opts?.docker?.user || null,
    pullPolicies: payload.image?.pull_policy ?? [],
    variables: payloadVariables(payload).variables,
    variablesAt: (place) => jobVariables(payload, factsAt(place)),
    ...options.limitsFor(local.run.tags),
    gpus: options.gpusByUuid(local.run.gpus),
  };
}

/** What this node knows of a run and GitLab does not. */
export function factsOf(
  { nodeName, version, instance }: RunDeskOptions,
  payload: JobPayload,
  run: Run,
  slots: RunFacts['slots'],
  place: { projectDir: string; buildsDir?: string },
): RunFacts {
  const runner = `${instance().uuid ?? ''} ${variableOf(payload, 'CI_RUNNER_ID') ?? run.class}`;
  return {
    projectDir: place.projectDir,
    buildsDir: place.buildsDir ?? buildsDirOf(place.projectDir, payload),
    node: nodeName,
    version,
    architecture: archName(process.arch),
    executor: run.executor,
    slots,
    runnerKey: createHash('sha256').update(runner).digest('hex').slice(0, 9),
  };
}

/** CI_BUILDS_DIR: the tree lies at its project's own path below it. */
function buildsDirOf(projectDir: string, payload: JobPayload): string {
  const path = variableOf(payload, 'CI_PROJECT_PATH');
  const below = path && projectDir.endsWith(`/${path}`) ? `/${path}` : projectDir.slice(projectDir.lastIndexOf('/'));
  return projectDir.slice(0, projectDir.length - below.length) || '/';
}

/** The run has failed and nothing more of its script is done. */
export class RunFailed extends Error {
  override readonly name = 'RunFailed';
  readonly verdict: Verdict;
  constructor(cause: FailureCause, because: string) {
    super(because);
    this.verdict = { state: 'failed', cause, exitCode: null, because };
  }
}

/** The agent stops; the run stays as it is for the next agent process. */
export class Halted extends Error {
  override readonly name = 'Halted';
}
/** GitLab or the mesh disowned the run: stop it, tell nobody. */
export class Gone extends Error {
  override readonly name = 'Gone';
}

/** The agent's own folder for a run; the executor has another one. */
export const runFolder = (home: string, run: string): string => join(home, 'runs', run.replace(/[^A-Za-z0-9_-]/g, '_'));
