import { expect, it } from 'vitest';
import { CoreLoop } from '../../node/agent/core-loop.ts';
import { One, wall } from './raft-one.ts';

it('says to other machines what they must write before its own disk is set to work: they have the longer way', async () => {
  const one = new One().elect().ack('A', 8).disk();
  for (const node of ['A', 'C']) one.feed({ kind: 'connected', node });
  const order: string[] = [];
  const loop = new CoreLoop({
    state: one.state,
    store: { write: async (writes) => void order.push(`write ${writes.map(({ key }) => key).join()}`) },
    clock: { bootMs: () => one.at, wallMs: () => wall },
    perform: (effect) => void order.push(effect.kind === 'send' ? `send ${effect.message.kind}` : effect.kind),
    storeFailing: () => {},
    crashed: (error) => {
      throw error;
    },
  });
  const change = { kind: 'set', key: 'graceMs', value: 1 } as const;
  loop.feed({ kind: 'requested', requests: [{ id: 'q', change }] });
  expect(order.slice(0, 2)).toEqual(['send append', 'write accepted']);
  await loop.stop();
});

it('reads boot time, which is a file, once for an input and not again for the timer after it', async () => {
  const one = new One().elect().ack('A', 8).disk();
  let reads = 0;
  const bootMs = (): number => {
    reads += 1;
    return one.at;
  };
  const loop = new CoreLoop({
    state: one.state,
    store: { write: async () => {} },
    clock: { bootMs, wallMs: () => wall },
    perform: () => {},
    storeFailing: () => {},
    crashed: (error) => {
      throw error;
    },
  });
  const before = reads;
  loop.feed({ kind: 'ticked' });
  expect(reads - before).toBe(1);
  loop.halt();
});
