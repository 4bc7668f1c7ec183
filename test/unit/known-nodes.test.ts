import { expect, it } from 'vitest';
import { knownNodes, remember } from '../../node/agent/known-nodes.ts';
import type { Store } from '../../node/ports.ts';

it('keeps each of the machines that were met at the same moment', async () => {
  const facts = new Map<string, string>();
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const store = {
    get: async (key: string) => {
      await turn();
      return facts.get(key) ?? null;
    },
    put: async (key: string, value: string) => {
      await turn();
      facts.set(key, value);
    },
  } as unknown as Store;
  await Promise.all(['A', 'B', 'C'].map((node) => remember(store, node, [`/ip4/192.168.1.7/tcp/1/${node}`])));
  await remember(store, 'A', ['/ip4/192.168.1.8/tcp/1']);
  expect((await knownNodes(store)).map(({ node, addresses }) => [node, addresses.length])).toEqual([
    ['A', 1],
    ['B', 1],
    ['C', 1],
  ]);
});
