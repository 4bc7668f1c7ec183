import type { CiVariable } from './ci/ci-variables.ts';
import type { PlannedJob } from './ci/pipeline-plan.ts';

/** What the practice GitLab keeps on disk. Times are ms since the epoch, on its settable clock. */

export interface PersonalToken {
  id: number;
  name: string;
  token: string;
  scopes: string[];
  /** The day (YYYY-MM-DD) at whose beginning, in UTC, it ends. Absent: never, which GitLab itself allows to none. */
  expiresOn?: string;
}

export interface User {
  id: number;
  username: string;
  name: string;
  admin: boolean;
  tokens: PersonalToken[];
  createdAt: number;
  email?: string;
  /** Hashed. */
  password?: string;
}

/** guest, planner, reporter, developer, maintainer, owner. */
export const accessLevels: readonly number[] = [10, 15, 20, 30, 40, 50];

export interface Group {
  id: number;
  name: string;
  fullPath: string;
  parentId: number | null;
  visibility: 'private' | 'internal' | 'public';
  /** Access levels by user. */
  members: Record<number, number>;
  createdAt: number;
}

export interface Project {
  id: number;
  name: string;
  path: string;
  namespace: string;
  description: string | null;
  visibility: 'private' | 'internal' | 'public';
  ownerId: number;
  createdAt: number;
  updatedAt: number;
  defaultBranch: string;
  /** Branches and tags as last seen (full ref name → sha): what a push changed is the difference. */
  refs: Record<string, string>;
  lastPipelineIid: number;
  /** Seconds. */
  buildTimeout: number;
  sharedRunners: boolean;
  /** Its CI/CD is off: a push makes no pipeline. Absent in records of before. */
  buildsDisabled?: boolean;
  /** CI variables by the project's settings. */
  variables?: ProjectVariable[];
  /** Counts how often the runners' caches were cleared: a number behind each key, as GitLab does it. */
  cacheIndex?: number;
  /** Whether protected branches have caches of their own; absent: yes, as with GitLab. */
  separatedCaches?: boolean;
  /** Why the newest push made no pipeline; shown on the project's page. */
  noPipeline?: { ref: string; sha: string; because: string } | null;
  /** Projects whose job tokens may read this one. Absent: its own alone. */
  jobTokensOf?: number[];
}

export interface ProjectVariable {
  key: string;
  value: string;
  raw: boolean;
  file: boolean;
  protected: boolean;
  masked: boolean;
  /** Never told again. */
  hidden: boolean;
  /** Of environments: `*`, `review/*`, `production`. */
  scope: string;
  description: string | null;
}

/** What jobs deploy to. */
export interface Environment {
  id: number;
  projectId: number;
  name: string;
  externalUrl: string | null;
  tier: string;
  state: 'available' | 'stopped';
  createdAt: number;
  updatedAt: number;
}

export type CiStatus =
  | 'created'
  | 'pending'
  | 'running'
  | 'canceling'
  | 'success'
  | 'failed'
  | 'canceled'
  | 'skipped'
  | 'manual';

export interface Pipeline {
  id: number;
  iid: number;
  projectId: number;
  sha: string;
  beforeSha: string;
  /** Short name: `main`. */
  ref: string;
  tag: boolean;
  source: 'push' | 'api';
  status: CiStatus;
  userId: number;
  stages: string[];
  variables: CiVariable[];
  /** `variables:` of the CI file. */
  fileVariables: CiVariable[];
  yamlErrors: string | null;
  commitTitle: string;
  commitMessage: string;
  commitAuthor: string;
  commitAt: number;
  createdAt: number;
  updatedAt: number;
  startedAt: number | null;
  finishedAt: number | null;
}

interface Artifact {
  type: string;
  format: string;
  filename: string;
  size: number;
  /** Absent: an earlier practice GitLab took it. */
  sha256?: string;
  /** File name under artifacts/. */
  stored: string;
  expireAt: number | null;
}

export interface Job {
  id: number;
  pipelineId: number;
  projectId: number;
  name: string;
  stage: string;
  stageIdx: number;
  status: CiStatus;
  spec: PlannedJob;
  allowFailure: boolean;
  userId: number;
  token: string;
  createdAt: number;
  queuedAt: number | null;
  startedAt: number | null;
  finishedAt: number | null;
  updatedAt: number;
  runnerId: number | null;
  managerId: number | null;
  /** What the runner declared when it took the job. */
  runnerFeatures: string[];
  failureReason: string | null;
  exitCode: number | null;
  retried: boolean;
  artifacts: Artifact[];
  /** How the final `output` compared with the stored trace; GitLab itself only counts mismatches. */
  traceCheck: 'none' | 'match' | 'mismatch';
  /** Per cent, found in the trace by the job's `coverage`. */
  coverage?: number | null;
  /** Its token is over, as GitLab's are that are JWTs, some minutes after the job's timeout. */
  hasTokenEnded?: boolean;
  /** When somebody erased its trace and artifacts. */
  erasedAt?: number;
  /** Variables of its dotenv report: the jobs that take its artifacts have them. */
  dotenv?: CiVariable[];
}

export type RunnerType = 'instance_type' | 'group_type' | 'project_type';

export interface Runner {
  id: number;
  token: string;
  type: RunnerType;
  projectIds: number[];
  description: string;
  maintenanceNote: string | null;
  tags: string[];
  runUntagged: boolean;
  locked: boolean;
  paused: boolean;
  accessLevel: 'not_protected' | 'ref_protected';
  maximumTimeout: number | null;
  creatorId: number | null;
  createdAt: number;
  contactedAt: number | null;
}

export interface Manager {
  id: number;
  runnerId: number;
  systemId: string;
  version: string | null;
  revision: string | null;
  platform: string | null;
  architecture: string | null;
  executor: string | null;
  ip: string;
  createdAt: number;
  contactedAt: number;
}

export interface Hook {
  id: number;
  projectId: number;
  uuid: string;
  url: string;
  token: string | null;
  signingToken: string | null;
  jobEvents: boolean;
  pipelineEvents: boolean;
  createdAt: number;
  /** Deliveries that failed in a row, and until when GitLab sends none therefore. */
  failures?: number;
  offUntil?: number;
}

export interface Instance {
  id: number;
  uuid: string;
  jobKey: string;
  registrationToken: string;
  allowLocalHooks: boolean;
  /** Places of the LAN, host or host:port, that hooks may reach all the same. */
  localHookPlaces?: string[];
  /** "Maximum artifacts size" once somebody set it; before that the practice GitLab's own limit. */
  maxArtifactsMib?: number;
  lastSweepAt: number;
}

export interface Tables {
  instance: Instance;
  user: User;
  group: Group;
  project: Project;
  pipeline: Pipeline;
  job: Job;
  runner: Runner;
  manager: Manager;
  hook: Hook;
  environment: Environment;
}
export type TableName = keyof Tables;

export const finished = (status: CiStatus): boolean =>
  status === 'success' || status === 'failed' || status === 'canceled' || status === 'skipped';

export const fullPath = (project: Project): string => `${project.namespace}/${project.path}`;
