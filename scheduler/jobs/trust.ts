import { jobTimings } from './job-timings.ts';

/** How a run ended here: whose fault that was, null for its own and for those that went well. */
export interface RunEnd {
  at: number;
  projectId: number;
  kind: string | null;
  /** That the job named, and that did not answer. */
  server: string | null;
  gpu: boolean;
  because: string;
}

interface Cordon {
  gpu: boolean;
  until: number;
  /** While one job is tried: the runs that were here before, whose ends say nothing of it. Null before that. */
  trial: { beside: readonly string[] } | null;
  sentence: string;
}

export interface OwnTrust {
  /** Of the last half hour, the newest last. */
  ends: readonly RunEnd[];
  /** Null while jobs are taken as ever. `gpu`: only jobs with one are not. */
  cordon: Cordon | null;
  pauseMs: number;
}

export const fullTrust: OwnTrust = { ends: [], cordon: null, pauseMs: jobTimings.cordonLeastMs };
