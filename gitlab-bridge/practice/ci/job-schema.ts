import { z } from 'zod';
import { durationSeconds } from './duration.ts';
import { environment } from './environment.ts';
import { matrixName, matrixRows, maxRows, rowCount } from './matrix.ts';
import { policy } from './policy.ts';
import { writtenPattern } from './re2.ts';
import { reportKinds } from './reports.ts';

/** The shape of one job of `.gitlab-ci.yml`, as far as the practice GitLab has it. Unknown keys are refused. */

const maxNesting = 10;
/** Numbers and booleans are no script to GitLab either: YAML reads `true` and `5` as such. */
const flat = (value: unknown, level = 0): string[] | null => {
  if (typeof value === 'string') return [value];
  if (!Array.isArray(value) || level >= maxNesting) return null;
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

const scalar = z
  .union([z.string(), z.number().int()], 'variable definition must be either a string or a hash')
  .transform(String);
const variableValue = z.union([
  z.null().transform(() => ({ value: '', raw: false })),
  scalar.transform((value) => ({ value, raw: false })),
  z
    .strictObject({
      value: scalar.nullish(),
      description: z.string().optional(),
      options: z.array(scalar).optional(),
      expand: z.boolean().optional(),
    })
    .transform((entry) => ({ value: entry.value ?? '', raw: entry.expand === false })),
]);
/** Any name, as with GitLab; what no shell can export is the runner's to say. */
export const variables = z.record(z.string().min(1).max(255), variableValue, 'should be a hash of key value pairs');

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
const reportPaths = z.union([z.string().transform((path) => [path]), globs]);
const kinds = [...reportKinds.keys()].filter((kind) => kind !== 'cobertura' && kind !== 'jacoco');
const reports = z
  .strictObject({
    ...Object.fromEntries(kinds.map((kind) => [kind, reportPaths.optional()])),
    coverage_report: z
      .strictObject({ coverage_format: z.enum(['cobertura', 'jacoco']), path: z.string().min(1) })
      .optional(),
  })
  .transform(({ coverage_report: coverage, ...others }) => [
    ...Object.entries(others as Record<string, string[] | undefined>).map(([type, paths]) => ({ type, paths })),
    ...(coverage === undefined ? [] : [{ type: coverage.coverage_format as string, paths: [coverage.path] }]),
  ]);
const whenUpload = z.enum(['on_success', 'on_failure', 'always']);
export const artifacts = z.strictObject({
  paths: globs.optional(),
  exclude: globs.optional(),
  name: z.string().optional(),
  untracked: z.boolean().optional(),
  when: whenUpload.optional(),
  expire_in: z
    .union([z.string(), z.number()])
    .transform(String)
    .refine((text) => text === 'never' || durationSeconds(text) !== null, 'should be a duration')
    .optional(),
  expose_as: z.string().optional(),
  public: z.boolean().optional(),
  reports: reports.optional(),
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
const matrixValue = z.union([scalar.transform((one) => [one]), z.array(scalar).min(1)]);
const matrix = z
  .array(z.record(z.string(), matrixValue))
  .min(1)
  .refine((rows) => rowCount(rows) <= maxRows, `config generates too many jobs (maximum is ${maxRows})`);
const need = z.union([
  name.transform((job) => ({ job, artifacts: true, optional: false, parallel: undefined })),
  z.strictObject({
    job: name,
    artifacts: z.boolean().default(true),
    optional: z.boolean().default(false),
    parallel: z.strictObject({ matrix }).optional(),
  }),
]);
/** `needs:parallel:matrix` names some of a matrix' jobs. */
const needs = z
  .array(need)
  .max(50)
  .transform((list) =>
    list.flatMap(({ parallel, ...one }) =>
      parallel === undefined
        ? [one]
        : matrixRows(parallel.matrix).map((row) => ({ ...one, job: matrixName(one.job, row) })),
    ),
  );
const when = z.enum(['on_success', 'on_failure', 'always', 'manual', 'never']);
const rule = z.strictObject({
  if: z.string().optional(),
  changes: z
    .union([
      globs.transform((paths) => ({ paths: paths as string[], compare_to: undefined as string | undefined })),
      z
        .strictObject({ paths: globs, compare_to: z.string().min(1).optional() })
        .transform((one) => ({ ...one, compare_to: one.compare_to })),
    ])
    .optional(),
  exists: z
    .union([
      globs.transform((paths) => ({
        paths: paths as string[],
        project: undefined as string | undefined,
        ref: undefined as string | undefined,
      })),
      z
        .strictObject({ paths: globs, project: z.string().min(1).optional(), ref: z.string().min(1).optional() })
        .transform(({ paths, project, ref }) => ({ paths, project, ref })),
    ])
    .optional(),
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
const parallel = z.union([z.number().int().min(1).max(200), z.strictObject({ matrix })]);
const pages = z.union([
  z.boolean(),
  z.strictObject({ publish: z.string().min(1).optional(), expire_in: z.union([z.string(), z.number()]).optional() }),
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
  needs: needs.optional(),
  only: policy.optional(),
  except: policy.optional(),
  environment: environment.optional(),
  coverage: z
    .string()
    .refine((text) => writtenPattern(text) !== null, 'config must be a regular expression')
    .optional(),
  pages: pages.optional(),
  publish: z.string().min(1).optional(),
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

/** Of what each way of a union says, that of the way which the value was meant for: the one that came furthest. */
const specific = (issue: z.core.$ZodIssue): z.core.$ZodIssue[] => {
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return [issue];
  const ways = issue.errors.map((way) => way.flatMap(specific));
  const own = ways.filter((way) => way.every((one) => !(one.code === 'invalid_type' && one.path.length === 0)));
  const [best] = own.length > 0 ? own : ways;
  if (own.length === 0)
    return [{ ...issue, code: 'custom', message: issue.message === 'Invalid input' ? expected(ways) : issue.message }];
  return (best ?? []).map((one) => ({ ...one, path: [...issue.path, ...one.path] }));
};

/** `should be a string or an array`: of a value that no way takes. */
const expected = (ways: z.core.$ZodIssue[][]): string => {
  const names = {
    string: 'a string',
    array: 'an array',
    object: 'a hash',
    record: 'a hash',
    number: 'a number',
    boolean: 'a boolean',
  };
  const kinds = ways.flat().map((one) => (one.code === 'invalid_type' ? one.expected : ''));
  const named = [...new Set(kinds.map((kind) => names[kind as keyof typeof names]).filter(Boolean))];
  return named.length === 0 ? 'config is not valid' : `should be ${named.join(' or ')}`;
};

/** GitLab's wording of what is wrong: `jobs:build:retry ...`. Only the first few, so that a broken file stays readable. */
export const wording = (where: string, error: z.ZodError): string[] =>
  error.issues
    .flatMap(specific)
    .slice(0, 5)
    .map((issue) => {
      // Each of `needs` is a `need` to GitLab, whichever it is.
      const path = [where, ...issue.path.map(String)].join(':').replace(/:needs:\d+(?=:|$)/, ':needs:need');
      if (issue.code === 'unrecognized_keys') return `${path} config contains unknown keys: ${issue.keys.join(', ')}`;
      return `${path} ${/^(?:Invalid|Too )/.test(issue.message) ? `config is not valid: ${issue.message}` : issue.message}`;
    });
