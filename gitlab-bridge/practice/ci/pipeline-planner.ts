import { z } from 'zod';
import { type CiVariable, expandAll } from './ci-variables.ts';
import { type Hash, isHash, readConfig } from './config-file.ts';
import { resolveExtends } from './extends.ts';
import { withIncludes } from './include.ts';
import { listed, plannedJob } from './job-plan.ts';
import {
  artifacts,
  cache,
  image,
  type JobConfig,
  jobSchema,
  retry,
  rules,
  script,
  services,
  variables,
  wording,
} from './job-schema.ts';
import { defaultKeywords, defaultStages, lackingTopKeywords, topKeywords } from './keywords.ts';
import { namedLacks } from './lacks.ts';
import { checkReferences, checkStops, type Drafted, linkNeeds } from './needs.ts';
import { partCount, partsOf } from './parallel.ts';
import type { PlanResult } from './pipeline-plan.ts';
import { resolveReferences } from './reference.ts';
import { RepositoryView, Wanted } from './repository-view.ts';
import { applyRules, matchingRule } from './rules.ts';

/**
 * From the text of `.gitlab-ci.yml` to a plan: read → include → extends → !reference → default → shape → rules → parallel → needs. Pure. Every
 * wrong thing is an error in GitLab's words; a keyword that exists in GitLab but not here is refused by its name.
 */
const maxJobs = 500;

const globals = z.object({
  stages: z.array(z.string().min(1).max(255)).optional(),
  variables: variables.optional(),
  workflow: z.strictObject({ name: z.string().optional(), rules: rules.optional() }).optional(),
  image: image.optional(),
  services: services.optional(),
  before_script: script.optional(),
  after_script: script.optional(),
  cache: cache.optional(),
  default: z
    .strictObject({
      image: image.optional(),
      services: services.optional(),
      before_script: script.optional(),
      after_script: script.optional(),
      tags: jobSchema.shape.tags,
      cache: cache.optional(),
      artifacts: artifacts.optional(),
      retry: retry.optional(),
      timeout: jobSchema.shape.timeout,
      interruptible: z.boolean().optional(),
      hooks: jobSchema.shape.hooks,
    })
    .optional(),
});
type Globals = z.infer<typeof globals>;

/** default (and the old global keywords) into a job that does not say it itself; `inherit:default` limits it. */
const withDefaults = (job: JobConfig, common: Globals): JobConfig => {
  const allowed = job.inherit?.default ?? true;
  const out: Record<string, unknown> = { ...job };
  for (const key of defaultKeywords) {
    if (job[key] !== undefined) continue;
    if (allowed === false || (Array.isArray(allowed) && !allowed.includes(key))) continue;
    const old = (common as Record<string, unknown>)[key];
    const value = (common.default as Record<string, unknown> | undefined)?.[key] ?? old;
    if (value !== undefined) out[key] = value;
  }
  return out as JobConfig;
};

/** A key without a value is not there, at any depth; a variable without one is an empty text. */
const withoutNulls = (hash: Hash, isVariables = false): Hash =>
  Object.fromEntries(
    Object.entries(hash)
      .filter(([, value]) => value !== null || isVariables)
      .map(([key, value]) => [key, isHash(value) ? withoutNulls(value, key === 'variables') : listWithoutNulls(value)]),
  );
const listWithoutNulls = (value: unknown): unknown =>
  Array.isArray(value) ? (value as unknown[]).map((one) => (isHash(one) ? withoutNulls(one) : one)) : value;

interface Checked {
  common: Globals;
  stages: string[];
  jobs: Map<string, JobConfig>;
}

const checkJobs = (raw: Record<string, Hash>, common: Globals, stages: string[]): Checked | { errors: string[] } => {
  const jobs = new Map<string, JobConfig>();
  const errors: string[] = [];
  for (const [name, entry] of Object.entries(raw)) {
    if (name.startsWith('.')) continue;
    const read = jobSchema.safeParse(withoutNulls(entry));
    if (!read.success) {
      errors.push(...wording(`jobs:${name}`, read.error));
      continue;
    }
    if (name.length > 255) errors.push(`jobs:${name.slice(0, 40)}… name is too long (maximum is 255 characters)`);
    if (read.data.script === undefined || read.data.script.length === 0)
      errors.push(`jobs:${name} config should implement the script:, run:, or trigger: keyword`);
    const stage = read.data.stage ?? 'test';
    if (!stages.includes(stage))
      errors.push(`${name} job: chosen stage ${stage} does not exist; available stages are ${stages.join(', ')}`);
    if (read.data.rules !== undefined)
      for (const key of ['only', 'except'] as const)
        if (read.data[key] !== undefined) errors.push(`jobs:${name} config key may not be used with \`rules\`: ${key}`);
    jobs.set(name, withDefaults(read.data, common));
  }
  if (errors.length === 0 && jobs.size === 0) errors.push('jobs config should contain at least one visible job');
  return errors.length > 0 ? { errors } : { common, stages, jobs };
};

/** The file with all that it includes, refers to and extends. */
const wholeConfig = (text: string, known: readonly CiVariable[], view: RepositoryView) => {
  const read = readConfig(text);
  if ('errors' in read) return read;
  const included = withIncludes(read.config, expandAll(known), view);
  if ('errors' in included) return included;
  const tops: readonly string[] = [...topKeywords, ...lackingTopKeywords];
  const entries: Record<string, Hash> = {};
  const errors: string[] = [];
  for (const [name, value] of Object.entries(included.config)) {
    if (tops.includes(name)) continue;
    if (isHash(value)) entries[name] = value;
    else if (!name.startsWith('.')) errors.push(`jobs:${name} config should be a hash`);
  }
  const extended = resolveExtends(entries);
  errors.push(...extended.errors);
  const referred = resolveReferences({ ...included.config, ...extended.jobs });
  errors.push(...referred.errors);
  const jobs = Object.fromEntries(Object.keys(entries).map((name) => [name, referred.config[name] as Hash]));
  errors.push(...namedLacks(referred.config, jobs));
  return errors.length > 0 ? { errors } : { config: withoutNulls(referred.config), jobs };
};

/** By its own name, or by that of a part which its `parallel` makes. Only of those that are asked for parts are made. */
const jobNamed = (jobs: ReadonlyMap<string, JobConfig>, name: string): JobConfig | null => {
  const whole = jobs.get(name);
  if (whole !== undefined) return whole;
  for (const { index } of name.matchAll(/: \[| \d+\/\d+$/g)) {
    const group = name.slice(0, index);
    const job = jobs.get(group);
    if (job !== undefined && partsOf(group, job.parallel).some((part) => part.name === name)) return job;
  }
  return null;
};

/** Reads and checks the file, rules aside (what GitLab's linter does). */
const checkConfig = (
  text: string,
  known: readonly CiVariable[],
  view: RepositoryView,
): Checked | { errors: string[] } => {
  const whole = wholeConfig(text, known, view);
  if ('errors' in whole) return whole;
  const common = globals.safeParse(whole.config);
  if (!common.success) return { errors: wording('root', common.error).map((line) => line.replace(/^root:/, '')) };
  const named = common.data.stages ?? [...defaultStages];
  const stages = ['.pre', ...named.filter((stage) => stage !== '.pre' && stage !== '.post'), '.post'];
  const checked = checkJobs(whole.jobs, common.data, stages);
  if ('errors' in checked) return checked;
  const stageOf = (name: string): number | null => {
    const job = jobNamed(checked.jobs, name);
    return job === null ? null : stages.indexOf(job.stage ?? 'test');
  };
  const wrong = [...checkReferences(checked.jobs, stageOf), ...checkStops(checked.jobs)];
  return wrong.length > 0 ? { errors: wrong } : checked;
};

const inherited = (config: JobConfig, globalVariables: readonly CiVariable[]): CiVariable[] => {
  const allowed = config.inherit?.variables ?? true;
  if (allowed === false) return [];
  return globalVariables.filter((entry) => allowed === true || allowed.includes(entry.key));
};

/**
 * The plan of one pipeline. `known` are the pipeline's own variables (predefined, and those given when it was started,
 * which win over the file's). What it must know of the repository it asks of `view`.
 */
export const planPipeline = (text: string, known: readonly CiVariable[], view = new RepositoryView()): PlanResult => {
  try {
    return planned(text, known, view);
  } catch (error) {
    if (error instanceof Wanted) return { kind: 'wants', want: error.want };
    throw error;
  }
};

const planned = (text: string, known: readonly CiVariable[], view: RepositoryView): PlanResult => {
  const checked = checkConfig(text, known, view);
  if ('errors' in checked) return { kind: 'invalid', errors: checked.errors };
  const fileVariables = listed(checked.common.variables);
  const workflow = checked.common.workflow?.rules;
  if (workflow !== undefined) {
    const found = matchingRule(workflow, expandAll([...fileVariables, ...known]), view);
    if ('because' in found) return { kind: 'invalid', errors: [`workflow:rules ${found.because}`] };
    if (found.rule === null || found.rule.when === 'never')
      return { kind: 'filtered', because: 'Pipeline filtered out by workflow rules.' };
    fileVariables.push(...listed(found.rule.variables));
  }
  const drafts: Drafted[] = [];
  const errors: string[] = [];
  let count = 0;
  for (const [group, config] of checked.jobs) {
    const values = expandAll([...inherited(config, fileVariables), ...known]);
    const result = applyRules(config, values, view);
    if (result.kind === 'wrong')
      errors.push(`jobs:${group}:${config.rules === undefined ? 'only' : 'rules'} ${result.because}`);
    if (result.kind !== 'in') continue;
    count += partCount(config.parallel);
    // Only counted from there on: a few lines may ask for a million.
    if (count > maxJobs) continue;
    const stage = config.stage ?? 'test';
    const place = { group, stage, stageIdx: checked.stages.indexOf(stage) };
    for (const part of partsOf(group, config.parallel))
      drafts.push({ config, job: plannedJob(config, { ...place, ...part }, result.outcome, values) });
  }
  if (count > maxJobs) errors.push(`The pipeline has ${count} jobs (maximum is ${maxJobs})`);
  else errors.push(...linkNeeds(drafts));
  if (errors.length > 0) return { kind: 'invalid', errors };
  if (drafts.every(({ job }) => job.stage === '.pre' || job.stage === '.post'))
    return {
      kind: 'filtered',
      because:
        'Pipeline will not run for the selected trigger. The rules configuration prevented any jobs from being added to the pipeline.',
    };
  const jobs = drafts.map(({ job }) => job);
  const used = checked.stages.filter((stage) => jobs.some((job) => job.stage === stage));
  return { kind: 'plan', plan: { stages: used, jobs, variables: fileVariables } };
};
