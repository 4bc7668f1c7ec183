import type { CiStatus, Job } from './records.ts';

/**
 * GitLab's pipeline state machine, pure: which `created` jobs of a pipeline may start, wait for a person or are skipped,
 * and what the status of a set of jobs is. Only the latest job of each name counts (not the retried ones).
 */
type Counted = CiStatus | 'success_with_warnings' | 'ignored';

const counted = (job: Job): Counted => {
  if (job.allowFailure && (job.status === 'failed' || job.status === 'canceled')) return 'success_with_warnings';
  if (job.allowFailure && job.status === 'manual') return 'ignored';
  return job.status;
};

/** Status of a set of jobs. `needs`: for a job with `needs`, which is skipped when one of them never ran. */
export const statusOf = (jobs: readonly Job[], needs = false): CiStatus => {
  const set = new Set(jobs.map(counted));
  const any = (...statuses: Counted[]): boolean => statuses.some((status) => set.has(status));
  const only = (...statuses: Counted[]): boolean => [...set].every((status) => statuses.includes(status));
  if (set.size === 0) return 'success';
  if (needs && any('skipped', 'ignored')) return 'skipped';
  if (needs && !only('success', 'failed', 'canceled', 'canceling', 'skipped', 'success_with_warnings'))
    return 'pending';
  if (only('skipped', 'ignored')) return 'skipped';
  if (only('success', 'skipped', 'success_with_warnings', 'ignored')) return 'success';
  if (only('created', 'success_with_warnings', 'ignored')) return 'created';
  if (only('canceled', 'success', 'skipped', 'success_with_warnings', 'ignored')) return 'canceled';
  if (any('canceling')) return 'canceling';
  if (only('pending', 'created', 'skipped', 'success_with_warnings', 'ignored')) return 'pending';
  if (any('running', 'pending')) return 'running';
  if (any('manual')) return 'manual';
  if (any('created')) return 'running';
  return 'failed';
};

const startsAfter: Record<Job['spec']['when'], readonly CiStatus[]> = {
  on_success: ['success', 'skipped'],
  manual: ['success', 'skipped'],
  on_failure: ['failed'],
  always: ['success', 'failed', 'skipped'],
};

const complete: readonly CiStatus[] = ['success', 'failed', 'canceled', 'skipped'];

/** What becomes of one `created` job now; null = it still waits. */
export const nextStatus = (job: Job, latest: readonly Job[]): 'pending' | 'manual' | 'skipped' | null => {
  const needs = job.spec.needs;
  const before =
    needs === null
      ? statusOf(latest.filter((other) => other.stageIdx < job.stageIdx))
      : statusOf(
          latest.filter((other) => needs.some((need) => need.job === other.name)),
          true,
        );
  if (!complete.includes(before)) return null;
  const starts = startsAfter[job.spec.when];
  // A job with needs does not start behind a skipped one, except `when: always`.
  const allowed =
    needs !== null && job.spec.when !== 'always' ? starts.filter((status) => status !== 'skipped') : starts;
  if (!allowed.includes(before)) return 'skipped';
  return job.spec.when === 'manual' ? 'manual' : 'pending';
};
