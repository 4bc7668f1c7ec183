import { jobTimings } from './job-timings.ts';

/** How a run ended here: whose fault that was, null for its own and for those that went well. */
export interface RunEnd {
  at: number;
  projectId: number;
  kind: string | null;
  gpu: boolean;
  because: string;
}

export interface OwnTrust {
  /** Of the last half hour, the newest last. */
  ends: readonly RunEnd[];
  /** Null while jobs are taken as ever. `gpu`: only jobs with one are not. */
  cordon: { gpu: boolean; until: number; isTrial: boolean; sentence: string } | null;
  pauseMs: number;
}

export const fullTrust: OwnTrust = { ends: [], cordon: null, pauseMs: jobTimings.cordonLeastMs };
