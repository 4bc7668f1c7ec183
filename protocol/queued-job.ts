/** A job that waits in GitLab's queue, as plain data: GitLab's side reads it, the scheduler places it. */
export interface QueuedJob {
  job: number;
  projectId: number;
  project: string;
  name: string;
  ref: string;
  tags: string[];
  /** ms since the Unix epoch, by GitLab's clock. */
  queuedAt: number;
  /** GitLab's number of the pipeline that it is of; absent where GitLab does not tell. */
  pipeline?: number;
}
