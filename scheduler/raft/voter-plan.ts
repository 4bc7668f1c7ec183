import type { NodeId, StoreId } from '../../protocol/ids.ts';
import type { Ledger, LedgerNode, Voters } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { hasMajority } from './quorum.ts';
import { raftTimings } from './raft-timings.ts';
import { nameIn, peerOf, type RaftTurn } from './raft-turn.ts';

/** What the leader knows of a node: the store on which it has a ledger of this term, and how long it has been silent. */
export interface Presence {
  readonly currentOn: StoreId | null;
  readonly silentMs: number;
}
interface VoterPlan {
  readonly voters: Voters;
  readonly because: string;
}

/**
 * Who should vote. Every approved node that is here, neither left nor drained, up to seven. A voter that left, or was
 * silent for a minute, goes, but never below two (SAFETY L13): the tie-breaker carries on alone. A voter that came back
 * is taken at once (L14); one with another store is replaced by its new self (L8). Null when nothing that a majority of
 * the nodes present could carry is better than what is.
 */
export function planVoters(ledger: Ledger, presence: (node: NodeId) => Presence): VoterPlan | null {
  const now = ledger.configuration.voters;
  const why: string[] = [];
  const chosen = new Map<NodeId, StoreId>();
  const reluctant: { node: NodeId; store: StoreId; why: string; gone: boolean }[] = [];
  for (const [node, { store }] of Object.entries(now)) {
    const entry = ledger.nodes[node];
    const name = nameIn(ledger, node);
    const { silentMs, currentOn } = presence(node);
    const gone = silentMs >= raftTimings.voterGoneMs;
    const drop = (because: string) => reluctant.push({ node, store, why: `${name} ${because}`, gone });
    if (!entry) why.push(`${name} was forgotten`);
    else if (entry.left) drop('left');
    else if (entry.drained) drop('is drained');
    else if (entry.store !== null && entry.store !== store) {
      if (currentOn === entry.store) {
        chosen.set(node, entry.store);
        why.push(`${name} has a new store`);
      } else drop('has lost its store');
    } else if (gone) drop(`has been silent for ${Math.round(silentMs / 1000)} s`);
    else chosen.set(node, store);
  }
  for (const [node, store] of newcomers(ledger, presence, chosen)) {
    if (chosen.size >= limits.voters) break;
    if (reluctant.some((one) => one.node === node)) continue;
    chosen.set(node, store);
    why.push(`${nameIn(ledger, node)} is here`);
  }
  reluctant.sort((a, b) => Number(a.gone) - Number(b.gone) || (a.node < b.node ? -1 : 1));
  for (const { node, store, why: because } of reluctant)
    if (chosen.size < 2) chosen.set(node, store);
    else why.push(because);
  if (chosen.size === 0) return null;
  const voters = weigh(ledger, chosen, presence);
  const here = (node: NodeId): boolean =>
    presence(node).silentMs < raftTimings.hereMs && presence(node).currentOn !== null;
  if (!hasMajority(voters, (node, store) => here(node) && presence(node).currentOn === store)) return null;
  return { voters, because: why.length > 0 ? why.join(', ') : 'another node breaks ties' };
}

/** Whoever votes may have to lead. One of an earlier version would take GitLab back to a host that is dead, as if a person had moved it. */
function mayLead({ gitlab: { hosted } }: Ledger, { can = [] }: LedgerNode): boolean {
  if (!hosted?.move) return true;
  return can.includes(hosted.move.unplanned ? 'failover' : 'move');
}

/** Present nodes that may vote and are not chosen yet, longest approved first. */
function newcomers(
  ledger: Ledger,
  presence: (node: NodeId) => Presence,
  chosen: ReadonlyMap<NodeId, StoreId>,
): [NodeId, StoreId][] {
  const { nodes } = ledger;
  const found: [NodeId, StoreId][] = [];
  // In calm all of them are chosen already, and a leader looks five times a second.
  for (const node in nodes) {
    if (chosen.has(node)) continue;
    const entry = nodes[node]!;
    if (entry.left || entry.drained || entry.store === null || !mayLead(ledger, entry)) continue;
    const { currentOn, silentMs } = presence(node);
    if (currentOn === entry.store && silentMs < raftTimings.hereMs) found.push([node, entry.store]);
  }
  return found.sort(([a], [b]) => nodes[a]!.approvedAt - nodes[b]!.approvedAt || (a < b ? -1 : 1));
}

/**
 * Weight 2 each; of an even number one has 3, so that it carries on with half of them (SAFETY L4, L13): one that stays
 * and is here, GitLab's host if it votes, else the one that was it, else the longest approved.
 */
function weigh(ledger: Ledger, chosen: ReadonlyMap<NodeId, StoreId>, presence: (node: NodeId) => Presence): Voters {
  const inOrder = (): { node: NodeId }[] =>
    [...chosen.keys()]
      .map((node) => {
        const entry = ledger.nodes[node];
        const leaves = !entry || entry.left || entry.drained;
        const gone = presence(node).silentMs >= raftTimings.voterGoneMs;
        const isHost = ledger.gitlab.host === node;
        const isOther = ledger.configuration.voters[node]?.weight !== 3;
        return { node, key: [Number(leaves), Number(gone), Number(!isHost), Number(isOther), entry?.approvedAt ?? 0] };
      })
      .sort((a, b) => {
        const differs = a.key.findIndex((part, index) => part !== b.key[index]);
        return differs >= 0 ? a.key[differs]! - b.key[differs]! : a.node < b.node ? -1 : 1;
      });
  const tieBreaker = chosen.size % 2 === 0 ? inOrder()[0]?.node : undefined;
  const voters: Voters = {};
  for (const [node, store] of chosen) voters[node] = { store, weight: node === tieBreaker ? 3 : 2 };
  return voters;
}

/** The plan by what this leader sees now. */
export function plannedVoters(turn: RaftTurn): VoterPlan | null {
  const { raft } = turn;
  const since = Math.max(raft.leading?.sinceAt ?? turn.at, raft.timerAt);
  return planVoters(raft.accepted, (node) => {
    if (node === turn.self) return { currentOn: turn.identity.store, silentMs: 0 };
    const { acked, cloned } = peerOf(raft, node);
    const currentOn = acked?.stamp && !cloned ? acked.store : null;
    return { currentOn, silentMs: turn.at - Math.max(acked?.sentAt ?? Number.NEGATIVE_INFINITY, since) };
  });
}
