import type { JobConfig } from './job-schema.ts';
import type { PlannedJob } from './pipeline-plan.ts';

export interface Drafted {
  job: PlannedJob;
  config: JobConfig;
}

/** Of a job of a matrix, `needs:parallel` names parts; `dependencies` may name the whole. */
const needsIt = (needs: readonly { job: string }[], dependency: string): boolean =>
  needs.some((need) => need.job === dependency || need.job.startsWith(`${dependency}: [`));

/** Errors of `needs` and `dependencies` against the whole file, rules aside. `stageOf` knows every visible job. */
export const checkReferences = (
  configs: ReadonlyMap<string, JobConfig>,
  stageOf: (name: string) => number | null,
): string[] => {
  const errors: string[] = [];
  for (const [name, config] of configs) {
    const own = stageOf(name) ?? 0;
    for (const need of config.needs ?? []) {
      const stage = stageOf(need.job);
      if (stage === null && !need.optional) errors.push(`${name} job: undefined need: ${need.job}`);
      else if (stage !== null && stage > own)
        errors.push(`${name} job: need ${need.job} is not defined in current or prior stages`);
    }
    for (const dependency of config.dependencies ?? []) {
      const stage = stageOf(dependency);
      if (stage === null) errors.push(`${name} job: undefined dependency: ${dependency}`);
      else if (stage > own || (stage === own && config.needs === undefined))
        errors.push(`${name} job: dependency ${dependency} is not defined in current or prior stages`);
      else if (config.needs !== undefined && config.needs.length > 0 && !needsIt(config.needs, dependency))
        errors.push(`${name} job: dependency ${dependency} should be part of needs`);
    }
  }
  const circle = findCircle(configs);
  if (circle !== null) errors.push(`The pipeline has circular dependencies: ${circle.join(' -> ')}`);
  return errors;
};

/** Errors of `environment:on_stop`: it names a job that stops the same environment. */
export const checkStops = (configs: ReadonlyMap<string, JobConfig>): string[] =>
  [...configs].flatMap(([name, { environment }]) => {
    const stop = environment?.onStop ?? null;
    if (stop === null) return [];
    const other = configs.get(stop);
    if (other === undefined) return [`${name} job: on_stop job ${stop} is not defined`];
    if (other.environment === undefined) return [`${name} job: on_stop job ${stop} does not have environment defined`];
    if (other.environment.name !== environment?.name)
      return [`${name} job: on_stop job ${stop} have different environment name`];
    return other.environment.action === 'stop'
      ? []
      : [`${name} job: on_stop job ${stop} needs to have action stop defined`];
  });

const findCircle = (configs: ReadonlyMap<string, JobConfig>): string[] | null => {
  const done = new Set<string>();
  const visit = (name: string, chain: readonly string[]): string[] | null => {
    if (chain.includes(name)) return [...chain.slice(chain.indexOf(name)), name];
    if (done.has(name)) return null;
    for (const need of configs.get(name)?.needs ?? []) {
      const circle = visit(need.job, [...chain, name]);
      if (circle !== null) return circle;
    }
    done.add(name);
    return null;
  };
  for (const name of configs.keys()) {
    const circle = visit(name, []);
    if (circle !== null) return circle;
  }
  return null;
};

/** Turns the needs of the file into needs of planned jobs (`parallel` makes one name many), or says what is missing. */
export const linkNeeds = (drafts: readonly Drafted[]): string[] => {
  const byGroup = new Map<string, string[]>();
  for (const { job } of drafts) {
    byGroup.set(job.group, [...(byGroup.get(job.group) ?? []), job.name]);
    if (job.name !== job.group) byGroup.set(job.name, [job.name]);
  }
  const errors: string[] = [];
  for (const { job, config } of drafts) {
    if (config.dependencies !== undefined)
      job.dependencies = config.dependencies.flatMap((name) => byGroup.get(name) ?? []);
    if (config.needs === undefined) continue;
    job.needs = [];
    for (const need of config.needs) {
      const jobs = byGroup.get(need.job);
      if (jobs !== undefined) job.needs.push(...jobs.map((name) => ({ job: name, artifacts: need.artifacts })));
      else if (!need.optional)
        errors.push(
          `'${job.name}' job needs '${need.job}' job, but '${need.job}' does not exist in the pipeline. This might be because of the only, except, or rules keywords. To need a job that sometimes does not exist in the pipeline, use needs:optional.`,
        );
    }
  }
  return errors;
};
