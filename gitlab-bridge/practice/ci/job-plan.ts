import { asMap, type CiVariable, expand, variable } from './ci-variables.ts';
import { tierOf } from './environment.ts';
import type { JobConfig } from './job-schema.ts';
import type {
  PlannedArtifacts,
  PlannedCache,
  PlannedEnvironment,
  PlannedImage,
  PlannedJob,
  RuleOutcome,
} from './pipeline-plan.ts';

type Listed = Record<string, { value: string; raw: boolean }>;

export const listed = (variables: Listed | undefined): CiVariable[] =>
  Object.entries(variables ?? {}).map(([key, entry]) => variable(key, entry.value, entry.raw));

interface ImageConfig {
  name: string;
  alias?: string | undefined;
  entrypoint?: string[] | undefined;
  command?: string[] | undefined;
  ports?: (number | { number: number; protocol?: string | undefined; name?: string | undefined })[] | undefined;
  variables?: Listed | undefined;
  pull_policy?: string[] | undefined;
  docker?: { platform?: string | undefined; user?: string | undefined } | undefined;
  kubernetes?: { user?: string | undefined } | undefined;
}

const plannedImage = (config: ImageConfig): PlannedImage => ({
  name: config.name,
  alias: config.alias ?? null,
  entrypoint: config.entrypoint ?? null,
  command: config.command ?? null,
  ports: (config.ports ?? []).map((port) =>
    typeof port === 'number'
      ? { number: port }
      : { number: port.number, protocol: port.protocol ?? 'http', name: port.name ?? 'default_port' },
  ),
  variables: listed(config.variables),
  pullPolicy: config.pull_policy ?? null,
  executorOpts: {
    ...(config.docker === undefined ? {} : { docker: JSON.parse(JSON.stringify(config.docker)) as object }),
    ...(config.kubernetes === undefined ? {} : { kubernetes: JSON.parse(JSON.stringify(config.kubernetes)) as object }),
  },
});

const plannedArtifacts = (config: NonNullable<JobConfig['artifacts']>): PlannedArtifacts => ({
  name: config.name ?? null,
  untracked: config.untracked ?? false,
  paths: config.paths ?? [],
  exclude: config.exclude ?? [],
  when: config.when ?? 'on_success',
  expireIn: config.expire_in ?? null,
  reports: (config.reports ?? []).flatMap(({ type, paths }) => (paths === undefined ? [] : [{ type, paths }])),
});

/** What a job of pages publishes is among its artifacts, whether it says so or not. */
const artifactsOf = (config: JobConfig, group: string): PlannedArtifacts | null => {
  const isPages = config.pages === undefined ? group === 'pages' : config.pages !== false;
  if (!isPages) return config.artifacts === undefined ? null : plannedArtifacts(config.artifacts);
  const published = (typeof config.pages === 'object' ? config.pages.publish : undefined) ?? config.publish ?? 'public';
  const planned = plannedArtifacts(config.artifacts ?? {});
  return planned.paths.includes(published) ? planned : { ...planned, paths: [...planned.paths, published] };
};

const plannedEnvironment = (
  config: NonNullable<JobConfig['environment']>,
  values: Record<string, string>,
): PlannedEnvironment => {
  const name = expand(config.name, values);
  return { ...config, name, tier: config.tier ?? tierOf(name) };
};

/** GitLab puts a cache's number, and the names of its files, before a key by files that names no prefix. */
const cacheKey = (key: NonNullable<JobConfig['cache']>[number]['key'], index: number) => {
  if (key === undefined || typeof key === 'string') return { key: key ?? 'default', keyFiles: null };
  const { files, files_commits: commits, prefix } = key;
  const by = files === undefined ? 'commits' : 'contents';
  const named = files === undefined ? '' : `_${files.map((file) => file.split('.')[0]).join('_')}`;
  return { key: prefix ?? `${index}${named}`, keyFiles: { paths: files ?? commits ?? [], by } } as const;
};

const plannedCache = (
  config: NonNullable<JobConfig['cache']>[number],
  index: number,
  values: Record<string, string>,
): PlannedCache => ({
  ...cacheKey(config.key, index),
  unprotect: config.unprotect ?? false,
  untracked: config.untracked ?? false,
  policy: expand(config.policy ?? 'pull-push', values),
  paths: config.paths ?? [],
  when: config.when ?? 'on_success',
  fallbackKeys: config.fallback_keys ?? [],
});

interface JobPlace {
  name: string;
  group: string;
  stage: string;
  stageIdx: number;
  /** CI_NODE_INDEX and the matrix's values. */
  extra: CiVariable[];
}

const failureAllowed = (config: JobConfig, outcome: RuleOutcome): boolean => {
  if (outcome.allowFailure !== null) return outcome.allowFailure;
  if (typeof config.allow_failure === 'boolean') return config.allow_failure;
  if (config.allow_failure !== undefined) return false;
  return config.when === 'manual' && config.rules === undefined;
};

/** One planned job from its configuration, after its rules were read. */
export const plannedJob = (
  config: JobConfig,
  place: JobPlace,
  outcome: RuleOutcome,
  known: Record<string, string>,
): PlannedJob => {
  const { extra, ...names } = place;
  const variables = Object.values(asMap([...listed(config.variables), ...outcome.variables, ...extra]));
  const values = { ...known, ...Object.fromEntries(variables.map((entry) => [entry.key, entry.value])) };
  const allow = config.allow_failure;
  return {
    ...names,
    tags: [...new Set((config.tags ?? []).map((tag) => expand(tag, values)))],
    image: config.image === undefined ? null : plannedImage(config.image),
    services: (config.services ?? []).map(plannedImage),
    script: [...(config.before_script ?? []), ...(config.script ?? [])],
    afterScript: config.after_script ?? [],
    preGetSources: config.hooks?.pre_get_sources_script ?? [],
    variables,
    artifacts: artifactsOf(config, place.group),
    cache: (config.cache ?? []).map((one, index) => plannedCache(one, index, values)),
    retry: config.retry ?? { max: 0, when: [], exitCodes: [] },
    timeout: config.timeout ?? null,
    allowFailure: failureAllowed(config, outcome),
    allowFailureExitCodes: typeof allow === 'object' ? allow.exit_codes : [],
    when: outcome.when,
    needs: null,
    dependencies: config.dependencies ?? null,
    interruptible: config.interruptible ?? false,
    inheritVariables: config.inherit?.variables ?? true,
    environment: config.environment === undefined ? null : plannedEnvironment(config.environment, values),
    coverage: config.coverage ?? null,
  };
};
