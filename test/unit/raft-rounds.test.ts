import { describe, expect, it } from 'vitest';
import type { Ledger } from '../../protocol/ledger.ts';
import { raftTimings } from '../../scheduler/raft/raft-timings.ts';
import { missedMsOf, roundsOf } from '../../scheduler/raft/rounds.ts';
import { leaderContactAt, livenessOf } from '../../scheduler/views.ts';
import { ledgerOf, One } from './raft-one.ts';

/** Three voters, A to C, and others that do not vote. */
function crowd(others: number, version = 7, term = 3): Ledger {
  const ledger = ledgerOf({ A: 2, B: 2, C: 2 }, term, version);
  const more = Array.from({ length: others }, (_, i) => [
    `N${i}`,
    { ...ledger.nodes.C!, name: `n${i}`, store: `sN${i}` },
  ]);
  return { ...ledger, nodes: { ...ledger.nodes, ...Object.fromEntries(more) } };
}

/** B leads and is answered by everybody; what it sends in `ms`, counted by receiver. */
function lead(one: One, ms: number): Record<string, number> {
  const sent: Record<string, number> = {};
  const answer = (): void => {
    for (const { to, message } of one.said.splice(0)) {
      if (message.kind !== 'append') continue;
      sent[to] = (sent[to] ?? 0) + 1;
      const { term, round } = message;
      one.hear(to, { kind: 'ack', term, round, stamp: one.state.raft.accepted.stamp, store: `s${to}` });
    }
  };
  for (const end = one.at + ms; one.at < end; ) {
    one.feed({ kind: 'ticked' }, 10).disk();
    answer();
  }
  return sent;
}

const leaderOf = (ledger: Ledger): One => {
  const one = new One(ledger).elect();
  for (const node of Object.keys(ledger.nodes)) if (node !== 'B') one.feed({ kind: 'connected', node });
  lead(one, 1000);
  return one;
};

describe('rounds in a crowd', () => {
  it('of eight nodes all hear all of them', () => {
    const sent = lead(leaderOf(crowd(5)), 4000);
    for (const [, count] of Object.entries(sent)) expect(count).toBe(sent.A);
  });

  it('of nine, who does not vote hears a quarter, is well all the time, and nobody looks after it', () => {
    const one = leaderOf(crowd(6));
    const looks = one.asked('probe');
    const sent = lead(one, 4000);
    expect(sent.A).toBeGreaterThanOrEqual(38);
    expect(sent.N5).toBeGreaterThanOrEqual(9);
    expect(sent.N5).toBeLessThanOrEqual(11);
    expect(one.asked('probe')).toBe(looks);
    expect(livenessOf(one.state, 'N5', one.at).state).toBe('alive');
  });

  it('carry news to all at once, and the mark that it is committed', () => {
    const one = leaderOf(crowd(20));
    one
      .feed({ kind: 'requested', requests: [{ id: 'r', change: { kind: 'set', key: 'graceMs', value: 1234 } }] })
      .disk();
    const sent = lead(one, 50);
    expect(Object.values(sent).every((count) => count >= 2)).toBe(true);
    expect(Object.keys(sent)).toHaveLength(22);
  });

  it('bring a ledger that is not acknowledged again after a second, of a small mesh after a tenth of it', () => {
    const ledgersTo = (one: One, node: string): number => {
      const before = one.said.length;
      for (let past = 0; past < 1150; past += 10) one.feed({ kind: 'ticked' }, 10).ack('A', 9).ack('C', 9);
      return one.said
        .slice(before)
        .filter(({ to, message }) => to === node && message.kind === 'append' && message.ledger !== null).length;
    };
    const elected = (others: number): One => {
      const one = new One(crowd(others)).elect();
      for (const node of ['A', 'C', 'N0']) one.feed({ kind: 'connected', node });
      return one;
    };
    expect(ledgersTo(elected(5), 'N0')).toBeGreaterThanOrEqual(8);
    expect(ledgersTo(elected(20), 'N0')).toBe(1);
  });

  it('are missed later by who hears fewer, in time for its runs and for the long timeout', () => {
    const ledger = crowd(20);
    expect(roundsOf(ledger, 'A')).toBe(1);
    expect(
      roundsOf(
        { ...ledger, configuration: { ...ledger.configuration, next: { N1: { store: 's', weight: 2 } } } },
        'N1',
      ),
    ).toBe(1);
    const betweenMs = roundsOf(ledger, 'N0') * raftTimings.heartbeatMs;
    expect(missedMsOf(ledger, 'N0')).toBeGreaterThan(betweenMs);
    expect(2 * betweenMs).toBeLessThan(raftTimings.checkQuorumMs);
    const one = new One(ledger, 'N0');
    const heard = (): One => one.append(8, null).feed({ kind: 'ticked' }, 0);
    heard();
    const looks = one.asked('probe');
    one.feed({ kind: 'ticked' }, betweenMs);
    heard();
    expect(one.asked('probe')).toBe(looks);
    expect(leaderContactAt(one.state)).toBe(one.at);
    for (let past = 0; past <= missedMsOf(ledger, 'N0') + 10; past += 10) one.feed({ kind: 'ticked' }, 10);
    expect(one.asked('probe')).toBe(looks + 1);
  });
});
