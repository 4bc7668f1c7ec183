import { type Hash, isHash } from './config-file.ts';
import { lacking, lackingJobKeywords, lackingTopKeywords } from './keywords.ts';

/** What of a file is GitLab's and not ours: each by its place and name. */
export const namedLacks = (config: Hash, entries: Record<string, Hash>): string[] => {
  const errors = lackingTopKeywords.filter((key) => Object.hasOwn(config, key)).map((key) => lacking('', key));
  const inside = (where: string, hash: unknown, keys: readonly string[]): void => {
    if (isHash(hash)) errors.push(...keys.filter((key) => Object.hasOwn(hash, key)).map((key) => lacking(where, key)));
  };
  inside('default:', config.default, ['id_tokens', 'identity']);
  inside('workflow:', config.workflow, ['auto_cancel']);
  const inRules = (where: string, list: unknown): void => {
    if (Array.isArray(list)) for (const rule of list) inside(`${where}rules:`, rule, ['needs', 'auto_cancel']);
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
      for (const need of job.needs) inside(`${where}needs:`, need, ['pipeline', 'project', 'ref']);
    inside(`${where}artifacts:`, job.artifacts, ['access']);
    inside(`${where}environment:`, job.environment, ['kubernetes']);
    inside(`${where}pages:`, job.pages, ['path_prefix']);
    for (const policy of ['only', 'except']) inside(`${where}${policy}:`, job[policy], ['kubernetes']);
  }
  return [...new Set(errors)];
};
