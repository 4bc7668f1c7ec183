/** What one door takes; above it a caller is refused, and the mesh does not notice. Times in ms. */
export const pageLimits = {
  /** Open at once. Of those that have shown no session and no key, and of one session or key, only so many: the oldest gives way to the newest. */
  connections: 256,
  strangers: 64,
  ofOne: 24,
  /** Of one session or key. */
  streams: 8,
  /** And questions that wait for news, each of which is a look every 100 ms, or for other machines. */
  waits: 8,
  /** So long an answer that other machines were asked for is everybody's. */
  historyMs: 2_000,
  /** Header, whole request, and how long a connection may rest. */
  headMs: 5_000,
  requestMs: 15_000,
  restMs: 30_000,
  headerBytes: 16 << 10,
  pathChars: 2_048,
  /** Refusals of one address: so many at once, and one more each. Above that its connection ends without a word. */
  refusals: { burst: 60, refillMs: 250, sources: 1024 },
  /** A one-time link is good for so long. */
  linkMs: 600_000,
  links: 64,
  /** How long a session lasts. */
  sessionLeastMs: 60_000,
  sessionUsualMs: 7 * 86_400_000,
  sessionMostMs: 365 * 86_400_000,
  sessions: 256,
  keys: 64,
  keyName: /^[a-z0-9][a-z0-9-]{0,39}$/,
} as const;
