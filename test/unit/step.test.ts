import { describe, expect, it } from 'vitest';
import type { Effect } from '../../scheduler/effects.ts';
import type { Happened } from '../../scheduler/inputs.ts';
import { type CoreState, restoredState } from '../../scheduler/state.ts';
import { step } from '../../scheduler/step.ts';
import { emptyDurable, found, mesh } from './raft-cluster.ts';

const freeze = <T>(value: T): T => {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const part of Object.values(value)) freeze(part);
  }
  return value;
};

describe('step', () => {
  it('never changes the state that it is given', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    cluster.freeze = freeze;
    cluster.run(500);
    cluster.request('desktop-1', { kind: 'set', key: 'graceMs', value: 1 });
    cluster.run(100);
    cluster.kill('kang');
    cluster.run(1000);
    cluster.start('kang');
    cluster.feed('desktop-1', { kind: 'leave-asked' });
    cluster.run(2000);
    expect(cluster.leaders()).toHaveLength(1);
  });

  it('gives the same answer to the same input', () => {
    const cluster = found('kang');
    cluster.run(500);
    const state = cluster.box('kang').state as CoreState;
    const input = {
      at: 5000,
      wallMs: 1,
      kind: 'requested',
      requests: [{ id: 'q', change: { kind: 'pair', until: 9 } }],
    } as const;
    expect(step(state, input)).toEqual(step(state, input));
  });

  it('names every persist once, and says in `then` only what needs the disk', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    cluster.run(1000);
    for (const box of cluster.boxes.values()) {
      const persists = box.effects.filter(
        (effect): effect is Effect & { kind: 'persist' } => effect.kind === 'persist',
      );
      const numbers = persists.map(({ part, seq }) => `${part} ${seq}`);
      expect(new Set(numbers).size).toBe(numbers.length);
      for (const { writes } of persists) expect(writes.length).toBeGreaterThan(0);
    }
  });

  it('never wants to be woken in the past, and a quiet mesh only for its rounds', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    cluster.run(2000);
    cluster.sent.length = 0;
    cluster.run(1000);
    // Twenty rounds a second to two followers, and their answers.
    expect(
      cluster.sent.filter(({ message }) => message.kind === 'append' || message.kind === 'ack').length,
    ).toBeLessThan(100);
    for (const box of cluster.boxes.values()) expect(box.wakeAt).toBeGreaterThanOrEqual(cluster.at);
  });

  it('does not start without a ledger', () => {
    const identity = { node: 'K', name: 'k', store: 's', boot: 'b', startedAtWallMs: 0, seed: 1, version: '0' };
    expect(() => restoredState(identity, emptyDurable(), 0)).toThrow('woken without a ledger');
  });

  it('bears any input at any time', () => {
    const cluster = found('kang');
    const inputs: Happened[] = [
      { kind: 'persisted', part: 'raft', seq: 998 },
      { kind: 'persisted', part: 'jobs', seq: 999 },
      { kind: 'probed', node: 'nobody', result: 'refused', tookMs: 1 },
      { kind: 'disconnected', node: 'nobody' },
      { kind: 'heard', from: 'nobody', message: { kind: 'timeout-now', term: 99 } },
      { kind: 'heard', from: 'nobody', message: { kind: 'ack', term: 1, round: 77, stamp: null, store: 'x' } },
      {
        kind: 'heard',
        from: 'nobody',
        message: { kind: 'change-answer', id: 'x', outcome: { state: 'done', because: '' } },
      },
      { kind: 'leave-asked' },
      { kind: 'leave-asked' },
      { kind: 'ticked' },
    ];
    for (const input of inputs) cluster.feed('kang', input);
    cluster.run(100);
    expect(cluster.box('kang').departed).not.toBeNull();
  });
});
