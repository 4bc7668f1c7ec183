import { clockDrift, sharedTimings } from '../../protocol/timings.ts';

const grantTtlMs = 10_000;
/** How long a node may sit on a grant by its own clock, and then on its POST: a little more than it allows itself. */
const grantOverMs = grantTtlMs * (1 + clockDrift) + sharedTimings.takeMs + 5_000;

/**
 * Every time of granting, comparing and giving up in one place, ms of boot time unless a comment says wall time. What
 * must hold between them, and towards what nodes allow themselves (SAFETY J1, J3, J5), is tested
 * (test/unit/job-timings.test.ts).
 */
export const jobTimings = {
  /** A turn that left work for the next asks to be called again. */
  workLeftMs: 100,
  /** How often the leader looks at runs and machines when nothing else wakes it. */
  lookEveryMs: 250,

  /** Between two reads of GitLab's queue: while work waits or is expected, and when idle. */
  busyPollMs: 1000,
  idlePollMs: 3000,
  /** A hint may come with every job: they share one read. */
  hintGapMs: 100,
  /** A read that the shell has not answered by now is asked again. */
  readLimitMs: 30_000,
  /** GitLab has shown no queue for so long: it is down, not merely stumbling. */
  gitlabFailedMs: 60_000,
  /**
   * Wall time. A read that was asked before a run ended may still show its job as waiting; one that was asked after it, by
   * clocks that differ by no more than this, shows another one: GitLab was restored and gives the same id again (SAFETY J8).
   */
  clockSlackMs: 3_000,

  /** A grant's life on the node counts from its receipt (SAFETY J5). */
  grantTtlMs,
  /** Never answered: its room stays booked until it is surely over, by any clock. */
  grantOverMs,
  /** A new leader grants nothing before the nodes had this long to tell what they hold. */
  firstGrantWaitMs: 1000,
  /** A node that refused a grant is left alone for a moment. */
  refusedPauseMs: 1000,
  /** A POST that the shell has not ended by now never will: the node gives its reservation up, and says so. */
  reservationLimitMs: 300_000,
  /** The shell first tells of the runs that it found on disk; only what is left then was never answered. */
  leftOverWaitMs: 2000,

  /** SAFETY J6: GitLab is written to only by a leader with proof no older than this that it leads. */
  contactLimitMs: 1000,
  createLimitMs: 60_000,
  /** Grants of a former leader have surely run out: their TTL with drift, and the node's own request. */
  retireWaitMs: 80_000,
  deleteAgainMs: 30_000,
  /** GitLab is being disconnected: it has this long to delete the runners, and, with force, to take a result. */
  removeLimitMs: 60_000,
  /** Wall time: how long a class that nobody used keeps its runner, and how finely its last use is written down. */
  unusedMs: 86_400_000,
  usedStepMs: 3_600_000,
  /** Between two questions whether GitLab knows a class's runner; an answer later than this holds nothing up. */
  classAskAgainMs: 30_000,
  classAnswerMs: 5_000,

  /** Reports come every 2 s, in a crowd up to every 4.5 s, so that one may be lost before the last is stale. */
  reportLeastMs: 2000,
  reportMostMs: 4500,
  /** A report older than this says nothing any more. */
  reportStaleMs: 10_000,
  /** How long after its last answer a report must come to say that its machine lives: a late one proves nothing. */
  deafAfterMs: 500,

  /** SAFETY J1: the agent is gone and its machine there; frozen meanwhile, the run waits for adoption. */
  adoptionMs: sharedTimings.adoptionMs,
  /** The most that a run's age earns a machine that vanished; the least is the mesh's setting `silentMs`. */
  silentMostMs: 60_000,
  /** For so long a lost run of which GitLab does not know holds grants up. */
  holdMostMs: 45_000,
  /** Grants that are on their way when a run is called lost are waited for so long before GitLab is told. */
  grantsFirstMs: 15_000,
  /** After a recovery by force, what a machine that came over had decided before is surely told to GitLab, or never will be. */
  cameOverMs: 30_000,
  /** After a reboot the agent says at once what it still has; its gossip may be faster than its word. */
  rebootWordMs: 1000,
  /** A node that reports without naming a run of its own has this long to name it. */
  missingMs: 15_000,
  /** A lost run is failed at GitLab, asked again after the first, given up after the second. */
  failLimitMs: 20_000,
  failGiveUpMs: 7_200_000,

  /** SAFETY J3: how often GitLab's running jobs are compared with ours, and how long a job may be nobody's. */
  compareEveryMs: 15_000,
  strayMs: 20_000,
  rescueAgainMs: 30_000,
  /** GitLab sweeps such jobs itself, after at most 90 min. */
  rescueGiveUpMs: 7_200_000,

  /** Wall time: so long a run that failed by no doing of its own counts, and its budget of other tries with it (SAFETY J10). */
  faultKeptMs: 3_600_000,
  /** GitLab is asked for another try again after the first, given up after the second (wall time). */
  retryAgainMs: 30_000,
  retryGiveUpMs: 900_000,
  /** Wall time: so long another try is kept from the machine on which the one before failed, while others could take it. */
  elsewhereMs: 300_000,
  unseenTryMs: 3_000,

  /** So long the ends of runs count when a machine asks whether jobs fail because of it; and its pauses, ever longer. */
  endsCountMs: 1_800_000,
  cordonLeastMs: 300_000,
  cordonMostMs: 3_600_000,
  trialMs: 600_000,

  /** While the ledger shows something else than this node knows, the leader is told again this often. */
  announceEveryMs: 1000,
  /** An ended run that the ledger does not show is told this long, then forgotten: the ledger keeps the newest only. */
  forgetEndedMs: 60_000,
  /** Wall time. An ended run younger than this is never pruned, and one older than this never comes back. */
  endedFreshMs: 10_000,
  /** Wall time. Lost runs stay longer: their machine may come back and claim them. */
  lostKeptMs: 3_600_000,
} as const;

/** Who fails is asked less and less: ms to wait after so many failures in a row (from 0), doubled from one second up. */
export const backoffMs = (failures: number, longestMs = 30_000): number =>
  Math.min(longestMs, 1000 * 2 ** Math.min(10, failures));
