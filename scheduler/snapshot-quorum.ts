import type { Voters } from '../protocol/ledger.ts';
import type { StatusSnapshot } from '../protocol/status.ts';
import { listed } from './jobs/words.ts';
import { nodeName, type ViewInput } from './snapshot-view.ts';

type Quorum = StatusSnapshot['quorum'];
export interface QuorumView extends Quorum {
  /** False while too few voters answer for anything to be decided. */
  holds: boolean;
}

const sumOf = (voters: Voters, nodes: ReadonlySet<string>): number =>
  Object.entries(voters).reduce((sum, [node, voter]) => sum + (nodes.has(node) ? voter.weight : 0), 0);

const isQuorum = (voters: Voters, nodes: ReadonlySet<string>): boolean =>
  2 * sumOf(voters, nodes) > sumOf(voters, new Set(Object.keys(voters)));

/** How many of the voters that answer now may vanish, whichever they are, before nothing can be decided. */
function canLose(halves: readonly Voters[], alive: ReadonlySet<string>): number {
  if (!halves.every((voters) => isQuorum(voters, alive))) return 0;
  const worst = Math.min(
    ...halves.map((voters) => {
      const heaviestFirst = [...alive]
        .filter((node) => voters[node] !== undefined)
        .sort((a, b) => (voters[b]?.weight ?? 0) - (voters[a]?.weight ?? 0));
      const left = new Set(heaviestFirst);
      for (const [count, node] of heaviestFirst.entries()) {
        left.delete(node);
        if (!isQuorum(voters, left)) return count;
      }
      return heaviestFirst.length;
    }),
  );
  return worst;
}

export function quorumOf(view: ViewInput): QuorumView {
  const ledger = view.accepted ?? view.ledger;
  if (ledger === null)
    return { voters: [], tieBreaker: null, canLose: 0, sentence: 'this machine is in no mesh yet', holds: false };
  const { voters, next } = ledger.configuration;
  const halves = next === null ? [voters] : [voters, next];
  const nodes = [...new Set(halves.flatMap((half) => Object.keys(half)))];
  const alive = new Set(nodes.filter((node) => node === view.self || view.liveness(node).state === 'alive'));
  const tie = nodes.find((node) => (next ?? voters)[node]?.weight === 3) ?? null;
  const holds = halves.every((half) => isQuorum(half, alive));
  const name = (node: string): string => nodeName(ledger, node);
  const canBeLost = canLose(halves, alive);
  return {
    voters: nodes.map(name).sort(),
    tieBreaker: tie === null ? null : name(tie),
    canLose: canBeLost,
    sentence: holds
      ? sentence(nodes.map(name).sort(), tie === null ? null : name(tie), alive.size, canBeLost)
      : `no quorum: ${listed(
          nodes
            .filter((node) => !alive.has(node))
            .map(name)
            .sort(),
        )} must come back`,
    holds,
  };
}

function sentence(voters: string[], tie: string | null, alive: number, canBeLost: number): string {
  if (voters.length === 1) return `one voter: without ${voters[0]} nothing is decided`;
  if (voters.length === 2 && tie !== null) {
    const other = voters.find((voter) => voter !== tie) ?? '';
    return alive === 2
      ? `two machines: if ${tie} dies, ${other} cannot take over safely by itself; if ${other} dies, ${tie} goes on`
      : `${tie} carries on alone`;
  }
  const away = voters.length - alive;
  const some = away === 0 ? '' : ` (${away} of ${voters.length} away now)`;
  return canBeLost === 0
    ? `cannot lose any of ${alive} machines${some}`
    : `can lose ${canBeLost} of ${alive} machines${some}`;
}
