/** How much enrolling one machine may ask of us. */
export const enrolLimits = {
  /** Conversations at the same time, of all newcomers. */
  atOnce: 16,
  atOncePerAddress: 8,
  /** Knocks from one address in a row, and ms until one more is free again. */
  burst: 20,
  refillMs: 3000,
  /** Addresses whose knocks are counted. */
  sources: 256,
  /** ms for a newcomer's next word before its knock is pending. */
  idleMs: 30_000,
  /** ms that a knock may wait for a person. */
  pendingMs: 15 * 60_000,
  /** A pending newcomer hears from us so often, ms. */
  pulseMs: 10_000,
} as const;
