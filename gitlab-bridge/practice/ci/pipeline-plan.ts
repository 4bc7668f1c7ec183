import type { CiVariable } from './ci-variables.ts';
import type { Want } from './repository-view.ts';

/** One image or service as the payload carries it. */
export interface PlannedImage {
  name: string;
  alias: string | null;
  entrypoint: string[] | null;
  command: string[] | null;
  ports: { number: number; protocol?: string; name?: string }[];
  variables: CiVariable[];
  pullPolicy: string[] | null;
  executorOpts: { docker?: { platform?: string; user?: string }; kubernetes?: { user?: string } };
}

export interface PlannedArtifacts {
  name: string | null;
  untracked: boolean;
  paths: string[];
  exclude: string[];
  when: string;
  expireIn: string | null;
  /** Type of the report → its files. A job of an earlier practice GitLab has `junit` alone. */
  reports?: { type: string; paths: string[] }[];
  junit?: string[];
}

/** What a job deploys to; variables in its name are put in already. */
export interface PlannedEnvironment {
  name: string;
  url: string | null;
  action: string;
  onStop: string | null;
  autoStopIn: string | null;
  tier: string;
}

export interface PlannedCache {
  /** Of one by files: its prefix, until `keyFiles` are looked at. */
  key: string;
  /** Files of the commit by whose contents, or last changes, the key is made; null: it is as it stands. */
  keyFiles: { paths: string[]; by: 'contents' | 'commits' } | null;
  /** The same for branches that are protected and those that are not. */
  unprotect: boolean;
  untracked: boolean;
  policy: string;
  paths: string[];
  when: string;
  fallbackKeys: string[];
}

/** A job as the CI file says it, after default, extends, rules and parallel. */
export interface PlannedJob {
  name: string;
  /** The name in the file: `build` of `build 1/3`. */
  group: string;
  stage: string;
  stageIdx: number;
  tags: string[];
  image: PlannedImage | null;
  services: PlannedImage[];
  /** before_script and script, one list: GitLab sends one step. */
  script: string[];
  afterScript: string[];
  preGetSources: string[];
  variables: CiVariable[];
  artifacts: PlannedArtifacts | null;
  cache: PlannedCache[];
  retry: { max: number; when: string[]; exitCodes: number[] };
  /** Seconds; null = the project's. */
  timeout: number | null;
  allowFailure: boolean;
  allowFailureExitCodes: number[];
  when: 'on_success' | 'on_failure' | 'always' | 'manual';
  /** Names of jobs; null = stage order. */
  needs: { job: string; artifacts: boolean }[] | null;
  /** null = all of earlier stages (or of needs). */
  dependencies: string[] | null;
  interruptible: boolean;
  inheritVariables: boolean | string[];
  environment?: PlannedEnvironment | null;
  /** A pattern, as it is written: the last match in the trace is the coverage. */
  coverage?: string | null;
}

export interface PipelinePlan {
  stages: string[];
  jobs: PlannedJob[];
  variables: CiVariable[];
}

export type PlanResult =
  | { kind: 'plan'; plan: PipelinePlan }
  | { kind: 'invalid'; errors: string[] }
  | { kind: 'filtered'; because: string }
  /** Something of the repository must be known first: tell the view, and plan again. */
  | { kind: 'wants'; want: Want };

/** How the rule that matched puts a job into a pipeline. */
export interface RuleOutcome {
  when: PlannedJob['when'];
  allowFailure: boolean | null;
  variables: CiVariable[];
}
