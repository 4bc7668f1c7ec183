import type { NodeId } from '../../protocol/ids.ts';
import { inSyncGraceMs, type Ledger, movesByItself } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { compareRounds, type RoundName } from '../../protocol/round-name.ts';
import { whoIsOlder } from '../disconnecting.ts';
import { listed } from '../phrases.ts';
import { rankedVoters } from '../raft/quorum.ts';
import { unseenIn } from '../recovered.ts';
import type { Hosting } from './hosted-edits.ts';
import { hostingTimings } from './hosting-timings.ts';
import { wayBackOf } from './move-edits.ts';

/*
 * What the ledger alone says of a move that nobody wished (SAFETY H7, H10): whether there may be one, to which machines, from which
 * rounds, and after how long a silence. A step of the leader and the views of `status` go by the same.
 */

/** Why these and no others. `person`: the mesh would not start it by itself. */
export type SuccessorKind = 'in-sync' | 'left-last' | 'base' | 'person';

export interface Successors {
  readonly kind: SuccessorKind;
  readonly nodes: readonly NodeId[];
}

/** It moved by itself so often without serving for `hostingTimings.settledMs` at one machine: a person looks first. */
export const failoversMost = 3;

/**
 * Whoever is in sync has every push that was acknowledged. With nobody in sync: who left that set last; where nobody was in it since
 * the epoch began, who holds the round that it began with.
 */
export function successorsOf({ host, copies, move, failover }: Hosting): Successors {
  const standbys = (copies?.standbys ?? []).map(({ node }) => node);
  const tried = move?.unplanned?.tried ?? [];
  const among = (nodes: readonly NodeId[]): NodeId[] =>
    standbys.filter((node) => nodes.includes(node) && node !== host && !tried.includes(node));
  if (failover?.wanted) return { kind: 'person', nodes: among([failover.wanted.to]) };
  const { members = [], last = null } = copies?.set ?? {};
  if (members.length > 0) return { kind: 'in-sync', nodes: among(members) };
  if (last !== null) return { kind: 'left-last', nodes: among(last) };
  return { kind: 'base', nodes: among(standbys) };
}

/**
 * Whether GitLab may be started from that round: it is of the ledger's epoch, or the one with which that began. After a recovery by force rounds of a
 * former era are all that there is, and maybe not all that was: from those it is started by a person only.
 */
export function mayBegin({ era }: Ledger, { epoch, copies, failover, move }: Hosting, round: RoundName): boolean {
  const isOfNow = round.era === era.counter || (failover?.wanted !== undefined && round.era < era.counter);
  const base = copies?.bases[epoch];
  if (!isOfNow || base === undefined) return isOfNow && round.epoch === epoch;
  // Nobody was served since its host was silent: who was in sync then, and is, has all that was acknowledged, though not that very round.
  const isOfBefore = move?.unplanned !== undefined && copies!.set.members.length > 0 && round.epoch === base.epoch;
  return round.epoch === epoch || compareRounds(base, round) === 0 || isOfBefore;
}

/** Machines of a former era that may let GitLab go on there; a person who starts it elsewhere goes by those that were seen switched off. */
function mayGoOnThere(ledger: Ledger, { failover }: Hosting): NodeId[] {
  const { off = [] } = ledger.recovery ?? {};
  return unseenIn(ledger).filter((node) => !failover?.wanted || !off.includes(node));
}

/** ms for which its host has to be silent. `wasHeard`: since this machine was switched on, as a power cut takes all at once. */
export function graceOf(
  { settings, nodes }: Ledger,
  { host, failover }: Hosting,
  { kind }: Successors,
  wasHeard: boolean,
): number {
  if (failover?.wanted) return 0;
  const { left = false, backMs = 0, bootMs = 0 } = nodes[host] ?? {};
  const { graceMs, inSyncGraceMs: short = inSyncGraceMs } = settings;
  const hold = left ? Math.min(backMs, limits.holdMs) : 0;
  if (!wasHeard) return Math.max(graceMs, 2 * bootMs, hold) + hostingTimings.startMs;
  return Math.max(kind === 'in-sync' ? Math.min(short, graceMs) : graceMs, hold);
}

/** Why GitLab goes on nowhere else, as the ledger is, whoever falls silent; null while it may. */
export function whyNoFailover(ledger: Ledger, hosting: Hosting): string | null {
  const { nodes, configuration, settings, gitlab } = ledger;
  const { ending, upgrade, failover, copies, host } = hosting;
  const name = (node: NodeId): string => nodes[node]?.name ?? node;
  if (ending) return 'it is being uninstalled';
  if (gitlab.url === null) return 'it has not stood here yet';
  // Its host may never come back to end it: what a person says ends it too.
  if (upgrade && !failover?.wanted) return 'it is being upgraded, and moves when that is over';
  if (wayBackOf(ledger) !== null) return `it is moving to ${name(host)}, and goes back where that does not bring it up`;
  const unseen = mayGoOnThere(ledger, hosting);
  if (unseen.length > 0)
    return `${listed(unseen.map(name))} did not come over since this mesh was recovered, and may let it go on there`;
  if (!copies || copies.agreed.length === 0)
    return 'no machine may hold a copy of it: autogit-node gitlab copies add NODE';
  if (copies.standbys.length === 0) return 'no machine holds a copy of it';
  const older = whoIsOlder(
    nodes,
    rankedVoters(configuration),
    'failover',
    'knows nothing of a GitLab that moves by itself',
  );
  if (older !== null || failover?.wanted) return older;
  if (!(settings.failover ?? movesByItself)) return 'it is switched off: autogit-node settings failover on';
  return failover?.flag ?? null;
}

/** Why that machine cannot be it, by the ledger; null where nothing in it speaks against that. */
export function whyNotSuccessor({ nodes, configuration }: Ledger, node: NodeId): string | null {
  const listedAs = nodes[node];
  if (listedAs === undefined) return 'is not in this mesh';
  if (listedAs.left) return 'is away';
  if (listedAs.drained) return 'is drained';
  // Without its token the mesh could do nothing more at GitLab.
  if (!rankedVoters(configuration).includes(node)) return 'does not vote, and could not open what GitLab needs';
  return listedAs.can?.includes('failover') ? null : 'runs an earlier version';
}

/** Who of them could be asked now, and why none else. */
export function fitAmong(ledger: Ledger, { nodes }: Successors): { fit: NodeId[]; unfit: string[] } {
  const why = nodes.map((node) => ({ node, because: whyNotSuccessor(ledger, node) }));
  return {
    fit: why.flatMap(({ node, because }) => (because === null ? [node] : [])),
    unfit: why.flatMap(({ node, because }) =>
      because === null ? [] : [`${ledger.nodes[node]?.name ?? node} ${because}`],
    ),
  };
}
