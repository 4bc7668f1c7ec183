/**
 * Every time of the host's lease and of who stands by, ms of boot time. What must hold between them (SAFETY H5, H7) is tested
 * (test/unit/hosting-timings.test.ts).
 */
export const hostingTimings = {
  /** SAFETY L: so long after its question the host may serve. */
  leaseMs: 4_000,
  /** SAFETY R: it asks again so often, whatever became of the last question. */
  renewMs: 500,
  /** SAFETY W_t: by then a lease that anybody may have given is out, by any clock, its steps included. */
  waitMs: 5_000,
  /** A gate that has not said that it is closed is told again. */
  endAgainMs: 1_000,
  /** A host whose power has come back with everybody's has to begin, and to be heard: its grace lasts so much longer (SAFETY H10). */
  startMs: 30_000,
  /** A silence so long is said, with what will come of it. */
  silentSaidMs: 5_000,
  /** Who may go on is asked which rounds it has, again so often, and may take so long to answer. */
  roundAskMs: 2_000,
  /** So long a machine that would rather not is not named while another one is there and has not answered yet. */
  ratherMs: 6_000,
  /** So long at one machine, and how often GitLab moved by itself before counts no more. */
  settledMs: 600_000,
  /** On trial at a new host for so long, and it is tried elsewhere: both of its starts may take as long as a boot ever does. */
  trialMs: 2_400_000,
  /** A standby that can take no round so long gives way to another one that can: that costs a whole copy. */
  standbyGoneMs: 900_000,
} as const;
