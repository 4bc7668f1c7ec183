export const lacking = (where: string, keyword: string): string =>
  `${where}${keyword} is a keyword that the practice GitLab lacks (it is not GitLab)`;

/** What GitLab knows and we lack: such a keyword fails the pipeline by its name, it is never ignored. */
export const lackingJobKeywords = [
  'resource_group',
  'release',
  'trigger',
  'secrets',
  'id_tokens',
  'identity',
  'start_in',
  'run',
  'inputs',
  'dast_configuration',
  'manual_confirmation',
] as const;

export const lackingTopKeywords = ['spec'] as const;

export const topKeywords = [
  'default',
  'stages',
  'variables',
  'workflow',
  'image',
  'services',
  'before_script',
  'after_script',
  'cache',
] as const;

/** What `default` may hold, and what a job takes from it when it does not say it itself. */
export const defaultKeywords = [
  'image',
  'services',
  'before_script',
  'after_script',
  'tags',
  'cache',
  'artifacts',
  'retry',
  'timeout',
  'interruptible',
  'hooks',
] as const;

export const defaultStages = ['build', 'test', 'deploy'] as const;
