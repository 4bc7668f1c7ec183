import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { isCrowd } from '../crowd.ts';
import { raftTimings } from './raft-timings.ts';

/** Of a crowd, who does not vote hears every fourth round, unless there is news for it. */
const sparedRounds = 4;

/**
 * One in how many rounds that node hears from its leader. Rounds are what a leader of many nodes spends its time on, and
 * only those who vote must miss it at once.
 */
export function roundsOf(ledger: Ledger, node: NodeId): number {
  const { voters, next } = ledger.configuration;
  if (voters[node] !== undefined || next?.[node] !== undefined) return 1;
  return isCrowd(ledger) ? sparedRounds : 1;
}

/**
 * How long a ledger is on its way before it is sent again, ms. The streams lose nothing, they only break, which is heard
 * of; and the ledger of a crowd is long: sent again to all while it is still being read, it would keep all from answering.
 */
export const resendMsOf = (ledger: Ledger): number =>
  isCrowd(ledger) ? raftTimings.checkQuorumMs : raftTimings.resendLedgerMs;

/** No word between a leader and that node for so long, ms: look at the other machine. */
export const missedMsOf = (ledger: Ledger, node: NodeId): number =>
  raftTimings.missedMs + (roundsOf(ledger, node) - 1) * raftTimings.heartbeatMs;
