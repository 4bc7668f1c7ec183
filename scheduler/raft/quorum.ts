import type { NodeId, StoreId } from '../../protocol/ids.ts';
import type { Configuration, Voters } from '../../protocol/ledger.ts';

/** Whether this voter, with this store, counts for what is being counted. */
type Counts = (node: NodeId, store: StoreId) => boolean;

/** More than half of the weight; weights are integers, so a tie is no majority (SAFETY L4). */
export function hasMajority(voters: Voters, counts: Counts): boolean {
  let total = 0;
  let sum = 0;
  for (const node in voters) {
    const voter = voters[node]!;
    total += voter.weight;
    if (counts(node, voter.store)) sum += voter.weight;
  }
  return 2 * sum > total;
}

/** In a joint configuration each half needs a majority of its own, never a sum (SAFETY L2). */
export const hasQuorum = (configuration: Configuration, counts: Counts): boolean =>
  hasMajority(configuration.voters, counts) && (configuration.next === null || hasMajority(configuration.next, counts));

/** All that vote in either half, sorted by rank: the heavier first, then by id. */
export function rankedVoters(configuration: Configuration): NodeId[] {
  const { voters, next } = configuration;
  const weight = (node: NodeId): number => Math.max(voters[node]?.weight ?? 0, next?.[node]?.weight ?? 0);
  const all = new Set([...Object.keys(voters), ...Object.keys(next ?? {})]);
  return [...all].sort((a, b) => weight(b) - weight(a) || (a < b ? -1 : 1));
}

/** A voter is a node with a store (SAFETY L8): another disk under the same name does not vote. */
export const isVoter = (configuration: Configuration, node: NodeId, store: StoreId): boolean =>
  configuration.voters[node]?.store === store || configuration.next?.[node]?.store === store;

/** The newest moment since which a quorum was in contact; -Infinity when there is none. */
export function quorumContact(
  configuration: Configuration,
  contactAt: (node: NodeId, store: StoreId) => number,
): number {
  let newest = Number.NEGATIVE_INFINITY;
  for (const half of [configuration.voters, configuration.next])
    for (const node in half) {
      const time = contactAt(node, half[node]!.store);
      if (time > newest && hasQuorum(configuration, (other, store) => contactAt(other, store) >= time)) newest = time;
    }
  return newest;
}

export function sameVoters(a: Voters, b: Voters): boolean {
  const nodes = Object.keys(a);
  return (
    nodes.length === Object.keys(b).length &&
    nodes.every((node) => a[node]!.store === b[node]?.store && a[node]!.weight === b[node]?.weight)
  );
}
