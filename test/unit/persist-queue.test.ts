import { expect, it } from 'vitest';
import { PersistQueue } from '../../node/agent/persist-queue.ts';
import type { EffectOf, Write } from '../../scheduler/effects.ts';

const effect = (seq: number, ...keys: ('promise' | 'committed')[]): EffectOf<'persist'> => ({
  kind: 'persist',
  part: 'raft',
  seq,
  writes: keys.map((key) =>
    key === 'promise' ? { key, value: { term: seq, votedFor: null } } : { key, value: null as never },
  ),
  then: [],
});

/** A store whose writes end when the test says so. */
function slowStore() {
  const writes: Write[][] = [];
  const ends: (() => void)[] = [];
  const store = {
    write: (batch: Write[]) => {
      writes.push(batch);
      return new Promise<void>((resolve) => ends.push(resolve));
    },
  };
  const end = async (): Promise<void> => {
    ends.shift()?.();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { writes, end, store };
}
const keysOf = (batches: Write[][]): string[] => batches.map((batch) => batch.map(({ key }) => key).join('+'));

it('writes a commit with the promise that follows it, in order, by one write', async () => {
  const { writes, end, store } = slowStore();
  const done: number[] = [];
  const queue = new PersistQueue({ store, done: ({ seq }) => void done.push(seq), failing: () => {} });
  queue.add(effect(1, 'committed'));
  expect(writes).toEqual([]);
  queue.add(effect(2, 'promise'));
  expect(keysOf(writes)).toEqual(['committed+promise']);
  queue.add(effect(3, 'committed'));
  await end();
  expect(done).toEqual([1, 2]);
  // The last one waits again, and is not forgotten.
  expect(writes.length).toBe(1);
  await expect.poll(() => writes.length).toBe(2);
  await end();
  expect(done).toEqual([1, 2, 3]);
});

it('whoever waits for the queue ends the wait; closed, nothing is written any more', async () => {
  const { writes, end, store } = slowStore();
  const queue = new PersistQueue({ store, done: () => {}, failing: () => {} });
  queue.add(effect(1, 'committed'));
  const settled = queue.end();
  expect(keysOf(writes)).toEqual(['committed']);
  await end();
  await settled;
  queue.add(effect(2, 'committed'));
  queue.close();
  await new Promise((resolve) => setTimeout(resolve, 60));
  expect(writes.length).toBe(1);
});

it('a look finds a failing store with nothing to write, and that it works again', async () => {
  let isBroken = true;
  const writes: Write[][] = [];
  const store = {
    write: async (batch: Write[]) => {
      writes.push(batch);
      if (isBroken) throw new Error('EIO');
    },
  };
  const said: boolean[] = [];
  const queue = new PersistQueue({ store, done: () => {}, failing: (failing) => void said.push(failing) });
  queue.look();
  await expect.poll(() => said).toEqual([true]);
  isBroken = false;
  await expect.poll(() => said).toEqual([true, false]);
  expect(writes.flat()).toEqual([]);
  queue.look();
  await expect.poll(() => writes.length).toBe(3);
  expect(said).toEqual([true, false]);
});

it('ends over a store that takes nothing, also in the midst of its tries, and calls nothing of it done', async () => {
  const store = {
    write: async () => {
      throw new Error('EROFS');
    },
  };
  const told: string[] = [];
  const queue = new PersistQueue({
    store,
    done: () => void told.push('done'),
    failing: () => void told.push('fails'),
  });
  queue.look();
  await expect.poll(() => told).toContain('fails');
  await queue.end();
  const tries = told.length;
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(told).toEqual(Array(tries).fill('fails'));
});
