import { asSentence, type NodeId } from '../../../protocol/ids.ts';
import type { CopiesSeen } from '../../../protocol/report.ts';
import { type RoundName, roundText } from '../../../protocol/round-name.ts';
import type { CopyRules } from '../../../scheduler/hosting/copies/copy-rules.ts';

interface HostKnows {
  bootMs: number;
  wallMs: number;
  problem: string | null;
  /** Of the last look that found nothing written since the newest round, by boot time. */
  idleMs: number;
  usedBytes: number;
  /** Until when, by boot time, that machine has all of the bulk part; null: it has none of it. */
  bulkUntil(node: NodeId): number | null;
  /** Bytes of a whole copy under way. */
  progressOf(node: NodeId): number | null;
}

/** What would be lost if the host died now, by the wall clock for people. A round counts when both its parts are there. */
export function copiesSeen(seen: ReturnType<CopyRules['seen']>, host: HostKnows): CopiesSeen {
  const wall = (bootMs: number): number => Math.max(0, Math.round(host.wallMs - (host.bootMs - bootMs)));
  // Not the members alone: with an empty set it is who left it last, and a newcomer may be in it before the host hears that.
  const mayStart = seen.standbys.filter(({ node }) => seen.mayStart.includes(node));
  const bulk = mayStart.map(({ node }) => host.bulkUntil(node));
  const isBulkThere = bulk.every((one) => one !== null && Number.isFinite(one));
  const isAllThere = mayStart.every(
    ({ round }) => round !== null && seen.newest !== null && isSameRound(round, seen.newest),
  );
  const hot = seen.safeUntil !== null && isAllThere ? Math.max(seen.safeUntil, host.idleMs) : seen.safeUntil;
  const until = hot === null || !isBulkThere ? null : Math.min(hot, ...(bulk as number[]));
  return {
    newest: seen.newest,
    arePushesSafe: host.problem === null && seen.arePushesSafe,
    safeUntil: host.problem !== null || until === null ? null : wall(until),
    standbys: seen.standbys.map(({ node, round, takenAt, state, because }) => {
      const doneBytes = host.progressOf(node);
      return {
        ...{ node, round, state },
        takenAt: takenAt === null ? null : wall(takenAt),
        because: asSentence(because),
        progress: doneBytes === null ? null : { doneBytes, totalBytes: Math.max(doneBytes, host.usedBytes) },
      };
    }),
    problem: host.problem === null ? null : asSentence(host.problem),
  };
}

const isSameRound = (one: RoundName, other: RoundName): boolean => roundText(one) === roundText(other);
