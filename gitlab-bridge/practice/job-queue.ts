import type { Job, Pipeline, Project, Runner } from './records.ts';

/** Who may take which job, and in which order, as GitLab decides it. Pure. */
interface QueueView {
  project(id: number): Project | undefined;
  pipeline(id: number): Pipeline | undefined;
  /** Jobs of a project that run now on instance runners. */
  runningOnInstance(projectId: number): number;
}

export const isProtected = (project: Project, pipeline: Pipeline): boolean =>
  !pipeline.tag && pipeline.ref === project.defaultBranch;

/** Whether a runner's tags, type and protection let it take this job (paused or not). */
export const fits = (runner: Runner, job: Job, view: QueueView): boolean => {
  const project = view.project(job.projectId);
  const pipeline = view.pipeline(job.pipelineId);
  if (project === undefined || pipeline === undefined) return false;
  if (runner.type === 'instance_type' ? !project.sharedRunners : !runner.projectIds.includes(project.id)) return false;
  if (job.spec.tags.length === 0 && !runner.runUntagged) return false;
  if (!job.spec.tags.every((tag) => runner.tags.includes(tag))) return false;
  return runner.accessLevel !== 'ref_protected' || isProtected(project, pipeline);
};

/** The pending jobs that a runner may take, in the order in which GitLab offers them. */
export const queueFor = (runner: Runner, jobs: Iterable<Job>, view: QueueView): Job[] => {
  const waiting = [...jobs].filter((job) => job.status === 'pending' && fits(runner, job, view));
  if (runner.type !== 'instance_type') return waiting.sort((a, b) => a.id - b.id);
  const running = new Map<number, number>();
  for (const job of waiting)
    if (!running.has(job.projectId)) running.set(job.projectId, view.runningOnInstance(job.projectId));
  return waiting.sort(
    (a, b) => (running.get(a.projectId) as number) - (running.get(b.projectId) as number) || a.id - b.id,
  );
};
