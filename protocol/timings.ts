/**
 * Times that two floors share, ms of boot time: what one of them waits for is what the other allows itself. Each stands
 * here once, and the inequalities that bind them are tested (test/unit/job-timings.test.ts, raft-timings.test.ts).
 */
export const sharedTimings = {
  /** SAFETY T_s: how long one TCP connect of a probe may hang before its machine counts as silent. */
  probeSilenceMs: 150,
  /** SAFETY D_r: a run without its leader and without GitLab's word for so long stands still. */
  runLeaseMs: 2_000,
  /** SAFETY J1: a run that nobody lets go on any more surely stands still after so long, by any clock. */
  standsStillMs: 3_000,
  /** SAFETY P: the watchdog looks so often whether a run's right to go on has run out. */
  watchdogPeriodMs: 200,
  /** What a node allows itself for the whole of one take, all tries of `POST /jobs/request` together. */
  takeMs: 60_000,
  /** How long the leader waits for an agent that is gone from a machine that is there, to come back to its runs. */
  adoptionMs: 60_000,
} as const;

/** SAFETY rho: by how much two clocks of boot time may differ. */
export const clockDrift = 0.1;
