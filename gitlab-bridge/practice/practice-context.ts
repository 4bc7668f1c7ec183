import type { JobLifecycle } from './job-lifecycle.ts';
import type { State } from './practice-state.ts';
import type { RateLimit } from './rate-limit.ts';
import type { RunnerQueue } from './runner-queue.ts';

/** GitLab's default limits; each may be set lower to see what a client does. */
export interface Limits {
  /** POST /jobs/request per runner token and minute. */
  jobRequests: number;
  /** PATCH trace per job and minute. */
  traces: number;
  /** PUT and other job calls per job and minute. */
  jobUpdates: number;
  /** GET /projects/:id/jobs per user and minute. */
  projectJobs: number;
  /** Bytes of one trace; beyond it the job is dropped (`trace_size_exceeded`). */
  traceBytes: number;
  /** Bytes of one artifact file; beyond it 413. */
  artifactBytes: number;
}

export const defaultLimits: Limits = {
  jobRequests: 2000,
  traces: 200,
  jobUpdates: 200,
  projectJobs: 600,
  traceBytes: 100 * 1_048_576,
  artifactBytes: 100 * 1_048_576,
};

/** What the practice GitLab is told to do wrong next, as GitLab does now and then. Counts fall to 0. */
export interface Faults {
  /** The next n job requests that would have got a job answer 409. */
  contended: number;
  /** The next n calls of the runner API answer 429 with Retry-After: 60 (GitLab runs migrations). */
  backoff: number;
  /** The next n API calls answer 500. */
  broken: number;
  /** The next n job requests give the job away, but the answer is cut off before a byte is sent. */
  lostAnswers: number;
}

/** What all handlers share. */
export interface PracticeContext {
  state: State;
  life: JobLifecycle;
  queue: RunnerQueue;
  rate: RateLimit;
  limits: Limits;
  faults: Faults;
  longPollMs: number;
  /** ms that a job request takes (`--pace real`); the job is leased meanwhile, others get 409. */
  requestPaceMs: number;
  /** Jobs that a request is just about to give away. */
  leased: Set<number>;
}

/** Bytes of one artifact file: what the settings say, or the default. */
export const artifactLimit = ({ state, limits }: PracticeContext): number =>
  state.instance.maxArtifactsMib === undefined ? limits.artifactBytes : state.instance.maxArtifactsMib * 1_048_576;
