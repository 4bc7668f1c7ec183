import { sharedTimings } from '../../protocol/timings.ts';

/**
 * Every time of the election in one place, ms of boot time. The letters are those of SAFETY's table of figures; the
 * inequalities that bind them are tested (test/unit/raft-timings.test.ts).
 */
export const raftTimings = {
  /** H: a leader's round. */
  heartbeatMs: 100,
  /** A leader with nobody to talk to still makes its rounds: they are its proof that it leads. */
  soloRoundMs: 500,
  /** No round for so long: look at the leader's machine. One round that is late costs one TCP connect, which says so. */
  missedMs: 130,
  /** This node's own timer was so late: what it did not hear meanwhile may be its own fault. */
  jitterMs: 50,
  /** T_s: how long a connect may hang before it counts as silence. The shell's probe waits as long. */
  silenceMs: sharedTimings.probeSilenceMs,
  /** E: a leader that reached no quorum for so long steps down. */
  checkQuorumMs: 1000,
  /** 1.5 E: a machine that accepts is only slow; after this its leader is given up all the same. */
  longTimeoutMs: 1500,
  /** After a start, or after a leader was given up without evidence: how long to listen before asking for votes. */
  listenMs: 300,
  /** How long a node that is not well leaves it to the others. */
  unwellMs: 3000,
  /** One rank's head start over the next, a few round trips. */
  staggerMs: 8,
  /** How long a round of pre-votes may take; receivers may spend `silenceMs` on a probe of their own. */
  electionMs: 300,
  /** How long votes may take once they are asked for: they wait for the disks of the others. */
  voteMs: 1000,
  /** Between two tries of the same node, plus up to as much again by chance. */
  retryMs: 150,
  /** Having promised a vote, the node leaves the other so long to win. */
  holdMs: 250,
  /** An own probe's result may answer a pre-vote if it is no older. */
  probeFreshMs: 500,
  /** Who was heard so lately is not switched off, whatever a person says (`recover --force`). */
  heardLatelyMs: 5000,
  /** How old a gossiped report may be when it comes. */
  rumourMs: 3000,
  /** Changes of leader are counted over so long. */
  leaderChangesMs: 3_600_000,
  /** Between two probes of the same silent machine: at first, and when it has long been silent. */
  reprobeMs: 300,
  reprobeSlowMs: 5000,
  /** A probe that the shell never answered is forgotten. */
  probeLostMs: 1000,
  /** A tick that came so much too late says that this node slept: it distrusts its own timers. */
  lateMs: 1000,
  /** After such a sleep, what is heard in this time may be a backlog and proves no contact. */
  backlogMs: 100,
  /** SAFETY L11: evidence that once was wrong is not believed for so long. */
  falseAlarmMs: 60_000,
  /** Who answered a round so lately is here, when voters are chosen: who just died must not be given a vote. */
  hereMs: 250,
  /** A voter dead for so long is taken out while a quorum still stands. */
  voterGoneMs: 60_000,
  /** How often the leader thinks about who should vote, when the ledger is as it was. */
  planMs: 200,
  /** The whole ledger goes to one node at most this often without its acknowledgement. */
  resendLedgerMs: 100,
  /** A follower gives the committed ledger to one that is behind at most this often. */
  relayMs: 1000,
  /** A change is asked again, and given up as unknown. */
  askAgainMs: 500,
  askForMs: 10_000,
  /** L17: one that does not vote may say this often that a higher term has begun. */
  tellTermMs: 60_000,
  /** A node that leaves goes at the latest after this, handed over or not. */
  leaveMs: 10_000,
  /** How long a leader that hands over takes no change: until its heir has all, and then until the heir leads. */
  handoverMs: 500,
  /** Before one that merely had better not lead tries again. */
  handoverPauseMs: 2000,
} as const;
