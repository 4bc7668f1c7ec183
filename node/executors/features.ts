/**
 * What each executor, together with the run's code, can do of GitLab's feature list (gitlab-contract §1.2). A job that
 * needs another one is refused by GitLab itself with `runner_unsupported`, so nothing may stand here that is not done.
 */
const common = [
  'variables',
  'raw_variables',
  'artifacts',
  'cache',
  'fallback_cache_keys',
  'artifacts_exclude',
  'upload_multiple_artifacts',
  'upload_raw_artifacts',
  'refspecs',
  'masking',
  'multi_build_steps',
  'trace_checksum',
  'trace_size',
  'cancelable',
  'cancel_gracefully',
  'return_exit_code',
  'shared',
] as const;

/** Bash on the machine itself: no image. */
export const processFeatures: readonly string[] = common;

/** Containers: the job's own, and those beside it. */
export const dockerFeatures: readonly string[] = [
  ...common,
  'image',
  'image_executor_opts',
  'services',
  'service_variables',
  'service_multiple_aliases',
  'service_executor_opts',
];
