/** Every figure of the copies' rules (SAFETY H10), once. ms of boot time where it is a time. */
export const copyTimings = {
  /** A round so often, if anything changed. */
  intervalMs: 5_000,
  /** What a round may take on top until its standby counts as late. */
  slackMs: 1_000,
  /** A push waits so long for a member; then that one's removal is asked for. */
  pushMs: 2_000,
  /** Of a round that arrives, more time is given, for what arrived, by a line of this speed: 32 Mbit/s. */
  leastBytesPerMs: 4_000,
  sampleMs: 250,
  arrivingMs: 600_000,
  /** So many rounds in time, one after the other, before a standby comes into the set. */
  roundsInTime: 12,
  /** Out so often within `outWithinMs` is behind: it does not come in until fewer are that young. */
  outsMost: 3,
  outWithinMs: 3_600_000,
  /** A change that was asked for and not heard of is asked for again. */
  askAgainMs: 1_000,
} as const;
