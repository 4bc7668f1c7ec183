import type { NodeId } from '../../protocol/ids.ts';
import { highestSide, type Ledger, ledgerSchema } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { emptied, gitlabWithCopies } from '../hosting/copies-set.ts';
import { withoutWanted } from '../hosting/failover-edits.ts';
import { keepingSides } from '../hosting/sides.ts';
import type { InputOf } from '../inputs.ts';
import { find } from '../membership-names.ts';
import { listed, span } from '../phrases.ts';
import type { CoreState } from '../state.ts';
import { beginVote } from './campaign.ts';
import { withRequest } from './client-requests.ts';
import { enterEra } from './era.ts';
import { hasQuorum, rankedVoters } from './quorum.ts';
import { raftTimings } from './raft-timings.ts';
import { nameIn, peerOf, type RaftTurn } from './raft-turn.ts';

/**
 * Going on without a quorum (`recover --force`, SAFETY L15). Life of it: a person names the machines seen switched off ->
 * this node writes a ledger of a new era in which it is the only voter, from its newest accepted one, as an elected
 * leader would: what was committed and acknowledged here is in it -> when that is on disk it is elected by itself and
 * leads -> the others keep their approval, take the new era's ledger on sight, and become voters by the ordinary path.
 */
interface RecoveryPlan {
  /** Why this node may not; null when it may. */
  readonly refused: string | null;
  /** The voters, and GitLab's host, that a person must have seen switched off: all that this node does not hear. */
  readonly off: readonly NodeId[];
}

type RecoveryView = Pick<CoreState, 'raft' | 'identity'>;

/** ms since that node was last heard, by itself or through others; Infinity when a look since found nobody there. */
function silentMs({ raft }: RecoveryView, node: NodeId, at: number): number {
  const { heardAt, reportAt, probe } = peerOf(raft, node);
  const heard = Math.max(heardAt, reportAt);
  if (!probe || probe.at <= heard) return at - heard;
  return probe.result === 'accepted' ? at - probe.at : Number.POSITIVE_INFINITY;
}

export function planRecovery(own: RecoveryView, at: number): RecoveryPlan {
  const { raft, identity } = own;
  const { accepted } = raft;
  const isHere = (node: NodeId): boolean =>
    node === identity.node || silentMs(own, node, at) < raftTimings.heardLatelyMs;
  const { host, mode } = accepted.gitlab;
  // GitLab would go on there, whether or not its host votes.
  const hosts = mode === 'hosted' && host !== null && Object.hasOwn(accepted.nodes, host) ? [host] : [];
  const off = [...new Set([...rankedVoters(accepted.configuration), ...hosts])].filter((node) => !isHere(node));
  return { refused: refusal(own, isHere), off };
}

function refusal({ raft, identity }: RecoveryView, isHere: (node: NodeId) => boolean): string | null {
  const { accepted, leader } = raft;
  const votes = (node: NodeId, store: string): boolean => {
    if (node === identity.node) return store === identity.store;
    const its = peerOf(raft, node).store;
    return isHere(node) && (its === null || its === store);
  };
  if (!Object.hasOwn(accepted.nodes, identity.node)) return 'this machine is in the mesh no more: join again';
  if (leader !== null) return `${nameIn(accepted, leader.node)} leads: there is nothing to recover`;
  if (hasQuorum(accepted.configuration, votes)) {
    const here = rankedVoters(accepted.configuration).filter(isHere);
    return `${listed(here.map((node) => nameIn(accepted, node)))} are a majority of the voters: they elect a leader by themselves`;
  }
  if (accepted.schema > ledgerSchema) return 'the ledger was written by a newer version: update this machine first';
  if (raft.leaving) return 'this agent leaves the mesh: start it again first';
  if (raft.rolledBack) return 'the store of this machine was rolled back and gets another id: ask again in a moment';
  if (!raft.healthy) return 'the store of this machine cannot be written: see autogit-node doctor';
  return null;
}

export function hearRecoveryAsked(turn: RaftTurn, { id, era, seenOff }: InputOf<'recovery-asked'>): void {
  const { raft, at, self } = turn;
  const { accepted } = raft;
  if (accepted.requests.some((one) => one.id === id)) return;
  const refuse = (because: string): void => {
    turn.effects.push({ kind: 'answer', id, outcome: { state: 'refused', because } });
  };
  const { refused, off } = planRecovery(turn, at);
  if (refused !== null) return refuse(refused);
  const named: NodeId[] = [];
  for (const wanted of seenOff) {
    const node = find(accepted.nodes, wanted) ?? off.find((one) => one === wanted);
    if (node === undefined) return refuse(`no machine of the mesh is called ${wanted}`);
    const silent = silentMs(turn, node, at);
    if (node === self) return refuse(`${wanted} is this machine`);
    if (silent < raftTimings.heardLatelyMs)
      return refuse(`${wanted} was heard ${span(silent)} ago: it is not switched off`);
    named.push(node);
  }
  const missing = off.filter((node) => !named.includes(node)).map((node) => nameIn(accepted, node));
  if (missing.length > 0)
    return refuse(`${listed(missing)} must have been seen switched off too: every voter that does not answer here`);
  recover(turn, id, era, [...new Set([...off, ...named])]);
}

/** An old ledger may name members that were removed since: in a new era they enter anew. Nor does GitLab start here by what a person wanted in the former one. */
function withNobodyInSync(ledger: Ledger): Ledger['gitlab'] {
  const gitlab = keepingSides(withoutWanted(ledger));
  const copies = gitlab.hosted?.copies;
  return copies ? gitlabWithCopies(gitlab, emptied(copies)) : gitlab;
}

/** From 1: a person may recover on two machines that do not see each other, and each has another place among all. */
const placeOf = ({ nodes }: Ledger, self: NodeId): number => 1 + Object.keys(nodes).sort().indexOf(self);

/** The number of the era that a recovery on that node would begin: another one on each, and above the one that an earlier version begins. */
export const eraCounterAfter = (
  { accepted, newerEra }: Pick<RaftTurn['raft'], 'accepted' | 'newerEra'>,
  self: NodeId,
): number => Math.max(accepted.era.counter, newerEra?.counter ?? 0) + 1 + placeOf(accepted, self);

/**
 * With what GitLab's epochs of that era end: another number on each machine, and another than in the era before, which may go on
 * elsewhere. After fifteen recoveries they come again.
 */
function sideAfter(accepted: Ledger, self: NodeId): number {
  const { side } = accepted.recovery ?? {};
  const round = side === undefined ? 0 : Math.floor((side - 1) / limits.nodes) + 1;
  return (round % Math.floor(highestSide / limits.nodes)) * limits.nodes + placeOf(accepted, self);
}

function recover(turn: RaftTurn, id: string, eraId: string, off: readonly NodeId[]): void {
  const { raft, self, identity } = turn;
  const base = raft.accepted;
  const side = sideAfter(base, self);
  const counter = eraCounterAfter(raft, self);
  const without = off.length > 0 ? ` without ${listed(off.map((node) => nameIn(base, node)))}` : '';
  const because = `${nameIn(base, self)} goes on alone${without}, in era ${counter}; machines that come back become voters by themselves`;
  const unseen = Object.keys(base.nodes).filter((node) => node !== self);
  const ledger: Ledger = {
    ...withRequest(base, id, because),
    era: { id: eraId, counter },
    stamp: { term: raft.term, version: base.stamp.version + 1 },
    configuration: { voters: { [self]: { store: identity.store, weight: 2 } }, next: null },
    gitlab: withNobodyInSync(base),
    recovery: {
      by: self,
      at: turn.wallMs,
      from: { era: base.era, stamp: base.stamp },
      off: off.slice(0, 2 * limits.voters),
      unseen,
      ...(base.gitlab.epoch > 0 && { epoch: base.gitlab.epoch }),
      side,
    },
  };
  enterEra(turn, ledger, raft.term);
  turn.save.era = ledger;
  turn.afterDisk.push(
    { kind: 'note', event: 'mesh-recovered', level: 'warn', because, fields: { era: counter } },
    { kind: 'answer', id, outcome: { state: 'done', because } },
  );
  beginVote(turn, false);
}
