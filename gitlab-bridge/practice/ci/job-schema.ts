import { z } from 'zod';
import { durationSeconds } from './duration.ts';

/** The shape of one job of `.gitlab-ci.yml`, as far as the practice GitLab has it. Unknown keys are refused. */

const maxNesting = 10;
const flat = (value: unknown, level = 0): string[] | null => {
  if (typeof value === 'string') return [value];
  if (typeof value === 'number' || typeof value === 'boolean') return [String(value)];
  if (!Array.isArray(value) || level > maxNesting) return null;
  const out: string[] = [];
  for (const inner of value as unknown[]) {
    const lines = flat(inner, level + 1);
    if (lines === null) return null;
    out.push(...lines);
  }
  return out;
};

export const script = z.unknown().transform((value, context) => {
  const lines = flat(value);
  if (lines !== null) return lines;
  context.addIssue('should be a string or a nested array of strings up to 10 levels deep');
  return z.NEVER;
});

const name = z.string().min(1).max(255);
const duration = z.union([z.string(), z.number()]).transform((value, context) => {
  const seconds = durationSeconds(String(value));
  if (seconds !== null) return seconds;
  context.addIssue('should be a duration');
  return z.NEVER;
});

const scalar = z.union([z.string(), z.number(), z.boolean()]).transform(String);
const variableValue = z.union([
  scalar.transform((value) => ({ value, raw: false })),
  z
    .strictObject({
      value: scalar.optional(),
      description: z.string().optional(),
      options: z.array(scalar).optional(),
      expand: z.boolean().optional(),
    })
    .transform((entry) => ({ value: entry.value ?? '', raw: entry.expand === false })),
]);
export const variables = z.record(
  z.string().regex(/^[A-Za-z_]\w*$/, 'should be a variable name'),
  variableValue,
  'should be a hash of key value pairs',
);

const names = (max: number) => z.array(z.string().min(1)).max(max);
const port = z.union([
  z.number().int(),
  z.strictObject({ number: z.number().int(), protocol: z.string().optional(), name: z.string().optional() }),
]);
const pullPolicy = z.union([
  z.enum(['always', 'if-not-present', 'never']).transform((one) => [one as string]),
  z.array(z.enum(['always', 'if-not-present', 'never'])).min(1),
]);
const imageObject = {
  name,
  entrypoint: z.array(z.string()).max(100).optional(),
  pull_policy: pullPolicy.optional(),
  docker: z
    .strictObject({
      platform: z.string().optional(),
      user: z.union([z.string(), z.number()]).transform(String).optional(),
    })
    .optional(),
  kubernetes: z.strictObject({ user: z.union([z.string(), z.number()]).transform(String).optional() }).optional(),
};
export const image = z.union([name.transform((text) => ({ name: text })), z.strictObject(imageObject)]);
const service = z.union([
  name.transform((text) => ({ name: text })),
  z.strictObject({
    ...imageObject,
    alias: z.string().optional(),
    command: z.array(z.string()).max(100).optional(),
    variables: variables.optional(),
    ports: z.array(port).optional(),
  }),
]);
export const services = z.array(service).max(50);

const globs = names(1000);
const whenUpload = z.enum(['on_success', 'on_failure', 'always']);
export const artifacts = z.strictObject({
  paths: globs.optional(),
  exclude: globs.optional(),
  name: z.string().optional(),
  untracked: z.boolean().optional(),
  when: whenUpload.optional(),
  expire_in: z
    .string()
    .refine((text) => text === 'never' || durationSeconds(text) !== null, 'should be a duration')
    .optional(),
  expose_as: z.string().optional(),
  public: z.boolean().optional(),
  reports: z.strictObject({ junit: z.union([z.string().transform((path) => [path]), globs]).optional() }).optional(),
});

const cacheOne = z.strictObject({
  key: z
    .union([
      z
        .string()
        .min(1)
        .refine((key) => !/^\.+$|\/|%2f/i.test(key), "cannot contain the '/' character, nor consist of dots"),
      z
        .strictObject({
          files: z.array(z.string().min(1)).min(1).max(2).optional(),
          files_commits: z.array(z.string().min(1)).min(1).max(2).optional(),
          prefix: z.string().min(1).optional(),
        })
        .refine(
          ({ files, files_commits: commits }) => !(files && commits),
          'files and files_commits exclude each other',
        )
        .refine(({ files, files_commits: commits }) => files || commits, 'misses files'),
    ])
    .optional(),
  paths: globs.optional(),
  untracked: z.boolean().optional(),
  policy: z.union([z.enum(['pull-push', 'pull', 'push']), z.string().regex(/^\$/)]).optional(),
  when: whenUpload.optional(),
  unprotect: z.boolean().optional(),
  fallback_keys: names(5).optional(),
});
export const cache = z.union([cacheOne.transform((one) => [one]), z.array(cacheOne).max(4)]);

const retryReasons = [
  'always',
  'unknown_failure',
  'script_failure',
  'api_failure',
  'stuck_or_timeout_failure',
  'stuck_pending_with_matching_runners',
  'stuck_pending_no_matching_runners',
  'no_updates_running',
  'no_updates_canceling',
  'server_timeout_running',
  'server_timeout_canceling',
  'runner_system_failure',
  'runner_configuration_error',
  'runner_external_dependency_failure',
  'runner_interrupted',
  'runner_unsupported',
  'stale_schedule',
  'job_execution_timeout',
  'archived_failure',
  'unmet_prerequisites',
  'scheduler_failure',
  'data_integrity_failure',
] as const;
const exitCodes = z.union([
  z
    .number()
    .int()
    .transform((code) => [code]),
  z.array(z.number().int()).min(1).max(255),
]);
const retryMax = z.number().int().min(0).max(2);
const reason = z.enum(retryReasons);
export const retry = z.union([
  retryMax.transform((max) => ({ max, when: ['always'] as string[], exitCodes: [] as number[] })),
  z
    .strictObject({
      max: retryMax.optional(),
      when: z.union([reason.transform((one) => [one as string]), z.array(reason)]).optional(),
      exit_codes: exitCodes.optional(),
    })
    .transform((entry) => ({
      max: entry.max ?? 2,
      when: (entry.when ?? (entry.exit_codes === undefined ? ['always'] : [])) as string[],
      exitCodes: entry.exit_codes ?? [],
    })),
]);

const allowFailure = z.union([z.boolean(), z.strictObject({ exit_codes: exitCodes })]);
const need = z.union([
  name.transform((job) => ({ job, artifacts: true, optional: false })),
  z.strictObject({ job: name, artifacts: z.boolean().default(true), optional: z.boolean().default(false) }),
]);
const when = z.enum(['on_success', 'on_failure', 'always', 'manual', 'never']);
const rule = z.strictObject({
  if: z.string().optional(),
  when: when.optional(),
  allow_failure: z.boolean().optional(),
  variables: variables.optional(),
  interruptible: z.boolean().optional(),
});
export const rules = z
  .array(z.unknown())
  .max(250)
  .transform((list) => list.flat(10))
  .pipe(z.array(rule));
const matrixValue = z.union([scalar.transform((one) => [one]), z.array(scalar).min(1)]);
const parallel = z.union([
  z.number().int().min(1).max(200),
  z.strictObject({ matrix: z.array(z.record(z.string(), matrixValue)).min(1).max(200) }),
]);

export const jobSchema = z.strictObject({
  stage: z.string().optional(),
  script: script.optional(),
  before_script: script.optional(),
  after_script: script.optional(),
  tags: z.array(z.string().min(1).max(255)).max(50).optional(),
  image: image.optional(),
  services: services.optional(),
  variables: variables.optional(),
  artifacts: artifacts.optional(),
  cache: cache.optional(),
  retry: retry.optional(),
  timeout: duration.optional(),
  allow_failure: allowFailure.optional(),
  when: when.optional(),
  needs: z.array(need).max(50).optional(),
  dependencies: z.array(name).optional(),
  rules: rules.optional(),
  parallel: parallel.optional(),
  interruptible: z.boolean().optional(),
  inherit: z
    .strictObject({
      default: z.union([z.boolean(), z.array(z.string())]).optional(),
      variables: z.union([z.boolean(), z.array(z.string())]).optional(),
    })
    .optional(),
  hooks: z.strictObject({ pre_get_sources_script: script.optional() }).optional(),
});

export type JobConfig = z.infer<typeof jobSchema>;
export type RuleConfig = z.infer<typeof rule>;

/** GitLab's wording of what is wrong: `jobs:build:retry ...`. Only the first few, so that a broken file stays readable. */
export const wording = (where: string, error: z.ZodError): string[] =>
  error.issues.slice(0, 5).map((issue) => {
    if (issue.code === 'unrecognized_keys' && issue.path.length === 0)
      return `${where} config contains unknown keys: ${issue.keys.join(', ')}`;
    const path = [where, ...issue.path.map(String)].join(':');
    if (issue.code === 'unrecognized_keys') return `${path} config contains unknown keys: ${issue.keys.join(', ')}`;
    return `${path} ${issue.code === 'custom' ? issue.message : `config is not valid: ${issue.message}`}`;
  });
