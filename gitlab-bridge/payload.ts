import { z } from 'zod';

/**
 * GitLab's 201 answer to `POST /jobs/request` (contract §1.3). Strict where we act on a field, loose elsewhere: a newer
 * GitLab sends more, an older one sends null. Made when the first job comes: it is an eighth of all schemas that an agent has.
 */
const text = (): z.ZodString => z.string().max(1 << 20);
const list = <T extends z.ZodType>(of: T, most: number) =>
  z
    .array(of)
    .max(most)
    .nullish()
    .transform((value): z.output<T>[] => value ?? []);

const jobVariable = () =>
  z.looseObject({
    key: z.string().max(1024),
    value: z
      .union([text(), z.null()])
      .optional()
      .transform((value) => value ?? ''),
    public: z.boolean().nullish(),
    file: z.boolean().nullish(),
    masked: z.boolean().nullish(),
    raw: z.boolean().nullish(),
  });
export type JobVariable = z.infer<ReturnType<typeof jobVariable>>;

const jobStep = () =>
  z.looseObject({
    name: z.string().max(255),
    script: list(text(), 10_000),
    timeout: z.number().nullish(),
    when: z.string().max(64).nullish(),
    allow_failure: z.boolean().nullish(),
  });

const jobArtifact = () =>
  z.looseObject({
    name: z.string().max(1024).nullish(),
    untracked: z.boolean().nullish(),
    paths: list(z.string().max(4096), 1000),
    exclude: list(z.string().max(4096), 1000),
    when: z.string().max(64).nullish(),
    expire_in: z.string().max(255).nullish(),
    artifact_type: z.string().max(64).nullish(),
    artifact_format: z.string().max(64).nullish(),
  });
export const JobArtifact = z.lazy(jobArtifact);
export type JobArtifact = z.infer<typeof JobArtifact>;

/** `key` is GitLab's own work: `files` and `prefix` are in it, and the suffix that tells protected branches from others. */
const jobCache = () =>
  z.looseObject({
    key: z
      .string()
      .max(1 << 16)
      .nullish(),
    untracked: z.boolean().nullish(),
    policy: z.string().max(1024).nullish(),
    paths: list(z.string().max(4096), 1000),
    when: z.string().max(64).nullish(),
    fallback_keys: list(z.string().max(1 << 16), 100),
  });

const jobDependency = () =>
  z.looseObject({
    id: z.int().positive(),
    name: z.string().max(255).nullish(),
    token: z.string().max(8192),
    artifacts_file: z.looseObject({ filename: z.string().max(1024).nullish(), size: z.number().nullish() }).nullish(),
  });
export type JobDependency = z.infer<ReturnType<typeof jobDependency>>;

const jobImage = () =>
  z.looseObject({
    name: z.string().max(4096).nullish(),
    entrypoint: z.array(z.string().max(65536)).max(100).nullish(),
    pull_policy: z.array(z.string().max(64)).max(10).nullish(),
    executor_opts: z
      .looseObject({
        docker: z
          .looseObject({ user: z.string().max(255).nullish(), platform: z.string().max(255).nullish() })
          .nullish(),
      })
      .nullish(),
  });

const jobService = () =>
  jobImage().extend({
    alias: z.string().max(4096).nullish(),
    command: z.array(z.string().max(65536)).max(100).nullish(),
    variables: list(jobVariable(), 1000),
  });
export type JobService = z.infer<ReturnType<typeof jobService>>;

const jobPayload = () =>
  z.looseObject({
    id: z.int().positive(),
    token: z.string().min(1).max(8192),
    allow_git_fetch: z.boolean().nullish(),
    job_info: z.looseObject({
      id: z.int().positive().nullish(),
      name: z.string().max(255).nullish(),
      stage: z.string().max(255).nullish(),
      project_id: z.int().nonnegative(),
      /** Only shown: no reason to refuse a job. */
      pipeline_id: z.int().positive().nullish().catch(null),
      project_name: z.string().max(512).nullish(),
      project_full_path: z.string().max(512).nullish(),
      instance_uuid: z.string().max(128).nullish(),
      /** Only counted: no reason to refuse a job. */
      time_in_queue_seconds: z.number().nullish().catch(null),
    }),
    git_info: z
      .looseObject({
        repo_url: z.string().max(8192).nullish(),
        ref: z.string().max(1024).nullish(),
        sha: z.string().max(128).nullish(),
        refspecs: list(z.string().max(1024), 100),
        depth: z.int().nonnegative().max(0x7fffffff).nullish(),
        ref_type: z.string().max(32).nullish(),
        protected: z.boolean().nullish().catch(null),
      })
      .nullish(),
    runner_info: z.looseObject({ timeout: z.number().nullish() }).nullish(),
    variables: list(jobVariable(), 10_000),
    steps: list(jobStep(), 100),
    hooks: list(z.looseObject({ name: z.string().max(255), script: list(text(), 10_000) }), 100),
    image: jobImage().nullish(),
    services: list(jobService(), 100),
    artifacts: list(jobArtifact(), 100),
    cache: list(jobCache(), 100),
    credentials: list(
      z.looseObject({
        type: z.string().max(64).nullish(),
        url: z.string().max(4096).nullish(),
        username: z.string().max(4096).nullish(),
        password: z.string().nullish(),
      }),
      100,
    ),
    // All jobs of earlier stages, where none are named.
    dependencies: list(jobDependency(), 20_000),
    run: z.unknown().optional(),
    secrets: z.record(z.string(), z.unknown()).nullish(),
    features: z
      .looseObject({
        token_mask_prefixes: list(z.string().max(255), 100),
        failure_reasons: list(z.string().max(64), 100),
      })
      .nullish(),
  });
export const JobPayload = z.lazy(jobPayload);
export type JobPayload = z.infer<typeof JobPayload>;

/** What GitLab means by a timeout that is not positive: two hours, as gitlab-runner does. */
const defaultTimeoutS = 7200;

/** ms that the job may take. */
export function timeoutMsOf(payload: JobPayload): number {
  const seconds = payload.runner_info?.timeout ?? 0;
  return (seconds > 0 ? Math.min(seconds, 30 * 86_400) : defaultTimeoutS) * 1000;
}

/** The value of one variable as GitLab sent it; the last one of a key wins. */
export function variableOf(payload: JobPayload, key: string): string | null {
  return payload.variables.findLast((variable) => variable.key === key)?.value ?? null;
}
