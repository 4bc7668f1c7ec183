/**
 * Why a run failed, in our words; GitLab's word for it depends on what this GitLab knows (contract §1.7). `system` is the
 * machine's; `owner`: its owner wanted it back; `registry`: it gave no answer, while `image-pull` is a refusal of it; `unclear`: not the script, and nobody can say whose.
 */
export const failureCauses = [
  'script',
  'timeout',
  'system',
  'owner',
  'environment',
  'network',
  'registry',
  'unclear',
  'image-pull',
  'configuration',
  'external-dependency',
  'interrupted',
  'unknown',
] as const;
export type FailureCause = (typeof failureCauses)[number];

const wanted: Record<FailureCause, string> = {
  script: 'script_failure',
  timeout: 'job_execution_timeout',
  system: 'runner_system_failure',
  owner: 'runner_system_failure',
  environment: 'runner_system_failure',
  network: 'runner_system_failure',
  registry: 'image_pull_failure',
  unclear: 'runner_system_failure',
  'image-pull': 'image_pull_failure',
  configuration: 'runner_configuration_error',
  'external-dependency': 'runner_external_dependency_failure',
  interrupted: 'runner_interrupted',
  unknown: 'unknown_failure',
};
const always = new Set(['script_failure', 'runner_system_failure', 'job_execution_timeout']);
const fallback: Record<string, string> = {
  image_pull_failure: 'runner_system_failure',
  runner_external_dependency_failure: 'runner_system_failure',
  runner_configuration_error: 'script_failure',
  runner_interrupted: 'runner_system_failure',
};

/** GitLab's failure_reason for a cause: only reasons that it always knows, or listed in `features.failure_reasons`. */
export function failureReason(cause: FailureCause, known: readonly string[]): string {
  const reason = wanted[cause];
  if (always.has(reason) || known.includes(reason)) return reason;
  const next = fallback[reason] ?? 'unknown_failure';
  return always.has(next) || known.includes(next) ? next : 'runner_system_failure';
}
