import type { Voters } from '../protocol/ledger.ts';
import type { StatusSnapshot } from '../protocol/status.ts';
import { listed } from './phrases.ts';
import { isHere, nodeName, type ViewInput } from './snapshot-view.ts';

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
  const isVoid = (node: string): boolean => {
    const its = view.storeOf(node);
    return its !== null && !halves.some((half) => half[node]?.store === its);
  };
  const alive = new Set(nodes.filter((node) => isHere(view, node) && !isVoid(node)));
  const tie = nodes.find((node) => (next ?? voters)[node]?.weight === 3) ?? null;
  const holds = halves.every((half) => isQuorum(half, alive));
  const name = (node: string): string => nodeName(ledger, node);
  const canBeLost = canLose(halves, alive);
  const isSpare = (node: string): boolean =>
    halves.every((half) => isQuorum(half, new Set([...alive].filter((other) => other !== node))));
  const spare = [...alive].filter(isSpare).map(name).sort();
  return {
    voters: nodes.map(name).sort(),
    tieBreaker: tie === null ? null : name(tie),
    canLose: canBeLost,
    sentence: holds
      ? sentence(nodes.map(name).sort(), tie === null ? null : name(tie), alive.size, canBeLost, spare)
      : `no quorum: ${whatIsMissing(
          halves,
          alive,
          nodes.filter((node) => isHere(view, node) && isVoid(node)),
          name,
        )}${nodes.length === 2 && tie ? `; of two machines only ${name(tie)} may go on alone` : ''}`,
    holds,
  };
}

/** `renewed`: here with another store than the one that votes, so that no quorum can count on that vote any more. */
function whatIsMissing(
  halves: readonly Voters[],
  alive: ReadonlySet<string>,
  renewed: readonly string[],
  name: (node: string) => string,
): string {
  if (renewed.length === 0) return `${comeback(halves, alive, [], name)} must come back`;
  const others = comeback(halves, alive, renewed, name);
  const back = others === '' ? '' : `; ${others} must come back`;
  return `the store of ${listed(renewed.map(name).sort())} is a new one, whose vote does not count yet${back}`;
}

/** Which of those away are enough, in words: "kang", "b or c", "a, or b and c", "2 of a, b and c"; nothing if all are not. */
function comeback(
  halves: readonly Voters[],
  alive: ReadonlySet<string>,
  renewed: readonly string[],
  name: (node: string) => string,
): string {
  const away = [...new Set(halves.flatMap((half) => Object.keys(half)))]
    .filter((node) => !alive.has(node) && !renewed.includes(node))
    .sort((a, b) => (name(a) < name(b) ? -1 : 1));
  const sets = smallestSets(away, (back) => halves.every((half) => isQuorum(half, new Set([...alive, ...back]))));
  const size = sets[0]?.length ?? 0;
  const names = (nodes: readonly string[]): string => listed(nodes.map(name));
  if (sets.length === 0) return '';
  if (sets.length === 1) return names(sets[0] as string[]);
  if (sets.every((set) => set.length === 1)) return listed(sets.flat().map(name), 'or');
  if (new Set(sets.flat()).size === away.length && sets.length === combinations(away.length, size))
    return `${size} of ${names(away)}`;
  return sets.length <= 3 ? sets.map(names).join(', or ') : `enough of ${names(away)}`;
}

/** All sets that are enough and of which no part is; the smaller first. At most 2^14 are looked at: two times 7 voters. */
function smallestSets(all: readonly string[], isEnough: (some: readonly string[]) => boolean): string[][] {
  const found: string[][] = [];
  const subsets = Array.from({ length: 1 << all.length }, (_, bits) => all.filter((_, index) => bits & (1 << index)));
  for (const some of subsets.sort((a, b) => a.length - b.length)) {
    if (found.some((less) => less.every((node) => some.includes(node)))) continue;
    if (isEnough(some)) found.push(some);
  }
  return found;
}

function combinations(n: number, k: number): number {
  let count = 1;
  for (let i = 1; i <= k; i += 1) count = (count * (n - k + i)) / i;
  return count;
}

/** `spare`: those here of whom any one may go. */
function sentence(voters: string[], tie: string | null, alive: number, canBeLost: number, spare: string[]): string {
  if (voters.length === 1) return `one voter: without ${voters[0]} nothing is decided`;
  if (voters.length === 2 && tie !== null) {
    const other = voters.find((voter) => voter !== tie) ?? '';
    return alive === 2
      ? `two machines: if ${tie} dies, ${other} cannot take over safely by itself; if ${other} dies, ${tie} goes on`
      : `${tie} carries on alone`;
  }
  const away = voters.length - alive;
  const some = away === 0 ? '' : ` (${away} of ${voters.length} away now)`;
  if (canBeLost === 0 && spare.length > 0 && tie !== null)
    return `can lose ${listed(spare, 'or')}, but not ${tie}${some}`;
  return canBeLost === 0
    ? away === 0
      ? `cannot lose any of ${alive} machines`
      : `cannot lose another machine${some}`
    : `can lose ${canBeLost} of ${alive} machines${some}`;
}
