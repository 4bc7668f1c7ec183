import type { Durable } from '../effects.ts';
import type { Input } from '../inputs.ts';
import type { JobsContext, JobsStep } from './contract.ts';

export interface JobsState {
  asking: Durable['asking'];
}

export const emptyJobs = (asking: Durable['asking']): JobsState => ({ asking });

export function stepJobs(jobs: JobsState, _input: Input, _context: JobsContext): JobsStep<JobsState> {
  return { jobs, effects: [], edits: [], wakeAt: Number.POSITIVE_INFINITY };
}
