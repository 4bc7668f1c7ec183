import { describe, expect, it } from 'vitest';
import { type Cluster, mesh } from './raft-cluster.ts';

/** A store that is rolled back while its mesh goes on: it is found out, and votes again under another id (SAFETY L9). */
describe('a store that was rolled back', () => {
  const isIn = (cluster: Cluster, node: string, store: string): boolean =>
    cluster.committed('A').configuration.next === null &&
    cluster.committed('A').configuration.voters[node]?.store === store;

  /** The machine is off while its disk gets the snapshot. */
  function rollBack(cluster: Cluster, node: string, snapshot: string): void {
    cluster.kill(node);
    cluster.run(10);
    Object.assign(cluster.box(node).durable, JSON.parse(snapshot));
    cluster.start(node);
  }

  it('gets a new id, and its vote back, each time anew', () => {
    const cluster = mesh('A', 'B', 'C');
    const snapshot = JSON.stringify(cluster.box('C').durable);
    for (let change = 0; change < 3; change += 1) {
      cluster.request('A', { kind: 'set', key: 'graceMs', value: 1000 + change });
      cluster.run(200);
    }
    rollBack(cluster, 'C', snapshot);
    const first = cluster.until(() => cluster.box('C').durable.store !== null, 1000, 'it has another id');
    expect(first).toBeLessThan(100);
    const { store } = cluster.box('C').durable;
    expect(cluster.box('C').notes.map(({ event }) => event)).toContain('store-rolled-back');
    cluster.until(() => isIn(cluster, 'C', store as string), 3000, 'it votes by its new id');
    expect(cluster.leaders()).toEqual(['A']);

    // To the snapshot that knows nothing of the second id: it comes back by its first one, as another store would.
    rollBack(cluster, 'C', snapshot);
    cluster.until(() => isIn(cluster, 'C', 'store-C'), 3000, 'it votes by the id of the snapshot');

    // And what it promises by that one counts again.
    cluster.request('A', { kind: 'set', key: 'graceMs', value: 2000 });
    cluster.run(200);
    rollBack(cluster, 'C', snapshot);
    cluster.until(() => cluster.box('C').durable.store !== null, 1000, 'it has a third id');
    expect(cluster.box('C').durable.store).not.toBe(store);
    cluster.until(() => isIn(cluster, 'C', cluster.box('C').durable.store as string), 3000, 'it votes by its third id');
    cluster.vanish('B');
    const id = cluster.request('A', { kind: 'set', key: 'graceMs', value: 3000 });
    cluster.until(() => cluster.answerTo('A', id)?.state === 'done', 3000, 'with it A has a majority');
  });
});
