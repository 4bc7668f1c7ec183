import { z } from 'zod';
import { type CiVariable, expandAll } from './ci-variables.ts';
import { type Hash, isHash, readConfig } from './config-file.ts';
import { resolveExtends } from './extends.ts';
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
import { defaultKeywords, defaultStages, lackingJobKeywords, lackingTopKeywords, topKeywords } from './keywords.ts';
import { checkReferences, type Drafted, linkNeeds } from './needs.ts';
import { partsOf } from './parallel.ts';
import type { PlanResult } from './pipeline-plan.ts';
import { applyRules, matchingRule } from './rules.ts';

/**
 * From the text of `.gitlab-ci.yml` to a plan: read → extends → default → shape → rules → parallel → needs. Pure. Every
 * wrong thing is an error in GitLab's words; a keyword that exists in GitLab but not here is refused by its name.
 */
const maxJobs = 500;

const lacking = (where: string, keyword: string): string =>
  `${where}${keyword} is a keyword that the practice GitLab lacks (it is not GitLab)`;

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

const namedLacks = (config: Hash, entries: Record<string, Hash>): string[] => {
  const errors = lackingTopKeywords.filter((key) => Object.hasOwn(config, key)).map((key) => lacking('', key));
  const inside = (where: string, hash: unknown, keys: readonly string[]): void => {
    if (isHash(hash)) errors.push(...keys.filter((key) => Object.hasOwn(hash, key)).map((key) => lacking(where, key)));
  };
  inside('default:', config.default, ['id_tokens', 'identity']);
  inside('workflow:', config.workflow, ['auto_cancel']);
  const inRules = (where: string, list: unknown): void => {
    if (Array.isArray(list))
      for (const rule of list) inside(`${where}rules:`, rule, ['changes', 'exists', 'needs', 'auto_cancel']);
  };
  if (isHash(config.workflow)) inRules('workflow:', config.workflow.rules);
  for (const [name, job] of Object.entries(entries)) {
    const where = `jobs:${name}:`;
    inside(where, job, lackingJobKeywords);
    if (job.when === 'delayed') errors.push(lacking(where, 'when:delayed'));
    inRules(where, job.rules);
    if (Array.isArray(job.rules) && job.rules.some((rule) => isHash(rule) && rule.when === 'delayed'))
      errors.push(lacking(where, 'rules:when:delayed'));
    if (Array.isArray(job.needs))
      for (const need of job.needs) inside(`${where}needs:`, need, ['pipeline', 'project', 'ref', 'parallel']);
    if (isHash(job.artifacts)) {
      inside(`${where}artifacts:`, job.artifacts, ['access']);
      const reports = job.artifacts.reports;
      if (isHash(reports))
        inside(
          `${where}artifacts:reports:`,
          reports,
          Object.keys(reports).filter((key) => key !== 'junit'),
        );
    }
  }
  return [...new Set(errors)];
};

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
    const read = jobSchema.safeParse(Object.fromEntries(Object.entries(entry).filter(([, value]) => value !== null)));
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
    jobs.set(name, withDefaults(read.data, common));
  }
  if (errors.length === 0 && jobs.size === 0) errors.push('jobs config should contain at least one visible job');
  return errors.length > 0 ? { errors } : { common, stages, jobs };
};

/** Reads and checks the file without any pipeline's variables (what GitLab's linter does). */
const checkConfig = (text: string): Checked | { errors: string[] } => {
  const read = readConfig(text);
  if ('errors' in read) return read;
  const config = read.config;
  const entries: Record<string, Hash> = {};
  const errors: string[] = [];
  const tops: readonly string[] = [...topKeywords, ...lackingTopKeywords];
  for (const [name, value] of Object.entries(config)) {
    if (tops.includes(name)) continue;
    if (isHash(value)) entries[name] = value;
    else if (!name.startsWith('.')) errors.push(`jobs:${name} config should be a hash`);
  }
  const resolved = resolveExtends(entries);
  errors.push(...resolved.errors, ...namedLacks(config, resolved.jobs));
  if (errors.length > 0) return { errors };
  const common = globals.safeParse(config);
  if (!common.success) return { errors: wording('root', common.error).map((line) => line.replace(/^root:/, '')) };
  const named = common.data.stages ?? [...defaultStages];
  const stages = ['.pre', ...named.filter((stage) => stage !== '.pre' && stage !== '.post'), '.post'];
  const checked = checkJobs(resolved.jobs, common.data, stages);
  if ('errors' in checked) return checked;
  const stageByName = new Map<string, number>();
  for (const [name, job] of checked.jobs)
    for (const known of [name, ...(partsOf(name, job.parallel) ?? []).map((part) => part.name)])
      stageByName.set(known, stages.indexOf(job.stage ?? 'test'));
  const stageOf = (name: string): number | null => stageByName.get(name) ?? null;
  const wrong = checkReferences(checked.jobs, stageOf);
  return wrong.length > 0 ? { errors: wrong } : checked;
};

const inherited = (config: JobConfig, globalVariables: readonly CiVariable[]): CiVariable[] => {
  const allowed = config.inherit?.variables ?? true;
  if (allowed === false) return [];
  return globalVariables.filter((entry) => allowed === true || allowed.includes(entry.key));
};

/**
 * The plan of one pipeline. `known` are the pipeline's own variables (predefined, and those given when it was started,
 * which win over the file's).
 */
export const planPipeline = (text: string, known: readonly CiVariable[]): PlanResult => {
  const checked = checkConfig(text);
  if ('errors' in checked) return { kind: 'invalid', errors: checked.errors };
  const fileVariables = listed(checked.common.variables);
  const workflow = checked.common.workflow?.rules;
  if (workflow !== undefined) {
    const found = matchingRule(workflow, expandAll([...fileVariables, ...known]));
    if ('because' in found) return { kind: 'invalid', errors: [`workflow:rules ${found.because}`] };
    if (found.rule === null || found.rule.when === 'never')
      return { kind: 'filtered', because: 'Pipeline filtered out by workflow rules.' };
    fileVariables.push(...listed(found.rule.variables));
  }
  const drafts: Drafted[] = [];
  const errors: string[] = [];
  for (const [group, config] of checked.jobs) {
    const values = expandAll([...inherited(config, fileVariables), ...known]);
    const result = applyRules(config, values);
    if (result.kind === 'wrong') errors.push(`jobs:${group}:rules ${result.because}`);
    if (result.kind !== 'in') continue;
    const parts = partsOf(group, config.parallel);
    if (parts === null) errors.push(`jobs:${group}:parallel generates too many jobs (maximum is 200)`);
    const stage = config.stage ?? 'test';
    const place = { group, stage, stageIdx: checked.stages.indexOf(stage) };
    for (const part of parts ?? [])
      drafts.push({ config, job: plannedJob(config, { ...place, ...part }, result.outcome, values) });
  }
  errors.push(...linkNeeds(drafts));
  if (drafts.length > maxJobs) errors.push(`The pipeline has ${drafts.length} jobs (maximum is ${maxJobs})`);
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
