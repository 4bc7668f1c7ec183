/** What GitLab knows and we lack: such a keyword fails the pipeline by its name, it is never ignored. */
export const lackingJobKeywords = [
  'only',
  'except',
  'resource_group',
  'environment',
  'release',
  'trigger',
  'secrets',
  'id_tokens',
  'identity',
  'pages',
  'publish',
  'coverage',
  'start_in',
  'run',
  'inputs',
  'dast_configuration',
  'manual_confirmation',
] as const;

export const lackingTopKeywords = ['include', 'spec', 'pages'] as const;

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
