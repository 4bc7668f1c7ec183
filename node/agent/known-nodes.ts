import { InTurn } from '../in-turn.ts';
import type { Store } from '../ports.ts';

const addressFact = (node: string): string => `addresses:${node}`;
const knownNodesFact = 'known-nodes';

/** Where other nodes were when they were last met, as far as the store remembers. */
export async function knownNodes(store: Store): Promise<{ node: string; addresses: string[] }[]> {
  const nodes = JSON.parse((await store.get(knownNodesFact)) ?? '[]') as string[];
  const lists = nodes.map(async (node) => ({
    node,
    addresses: JSON.parse((await store.get(addressFact(node))) ?? '[]') as string[],
  }));
  return Promise.all(lists);
}

/** Two are met at once, and neither list may be written over the other. */
const inTurn = new WeakMap<Store, InTurn>();

export function remember(store: Store, node: string, addresses: string[]): Promise<void> {
  const turn = inTurn.get(store) ?? new InTurn();
  inTurn.set(store, turn);
  return turn.do(async () => {
    const nodes = new Set(JSON.parse((await store.get(knownNodesFact)) ?? '[]') as string[]);
    await store.put(addressFact(node), JSON.stringify(addresses));
    if (!nodes.has(node)) await store.put(knownNodesFact, JSON.stringify([...nodes, node]));
  });
}
