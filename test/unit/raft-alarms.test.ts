import { describe, expect, it } from 'vitest';
import type { PeerMessage } from '../../protocol/messages.ts';
import { raftTimings } from '../../scheduler/raft/raft-timings.ts';
import { livenessOf } from '../../scheduler/views.ts';
import { newer, One } from './raft-one.ts';

/** What the log warns of when something is not as it should be: two leaders, evidence that was wrong, silence. */

const sentences = (one: One, event: string): string[] =>
  one.effects.flatMap((effect) => (effect.kind === 'note' && effect.event === event ? [effect.because] : []));

describe('two leaders of one term', () => {
  it('can only be two copies of a store, and the one that sees it says so and follows nobody', () => {
    const one = new One().elect();
    const { term } = one.state.raft;
    one.said = [];
    one.append(9, newer(9, term), { term, stamp: { term, version: 9 } });
    expect(sentences(one, 'two-leaders')).toEqual([
      `a says that it leads term ${term} too: one of the two stores was copied or rolled back`,
    ]);
    expect(one.last('ack')).toBeUndefined();
    expect(one.state.raft.accepted.stamp).toEqual({ term, version: 8 });
    expect(one.state.raft.leading).not.toBeNull();
  });

  it('is not said of an old leader that still speaks', () => {
    const one = new One().elect();
    one.append(8, newer(8, 3), { term: 3, stamp: { term: 3, version: 8 } });
    expect(sentences(one, 'two-leaders')).toEqual([]);
    expect(one.last('ack')).toMatchObject({ term: one.state.raft.term, stamp: null });
  });
});

describe('a false alarm (L11)', () => {
  /** Leads because the machine of A, the leader before, was silent to B and to C. */
  const overthrew = (): One => {
    const one = new One().append(8, newer(8)).disk();
    one.feed({ kind: 'connected', node: 'A' }, 10).feed({ kind: 'disconnected', node: 'C' }, 10);
    one.feed({ kind: 'ticked' }, raftTimings.missedMs + 50);
    one.feed({ kind: 'probed', node: 'A', result: 'silent', tookMs: 150 }, 150).feed({ kind: 'ticked' }, 50);
    const { term } = one.last('pre-vote') ?? { term: 0 };
    const answer = { term, granted: true, store: 'sC', because: '' };
    one.hear('C', { kind: 'pre-vote-answer', ...answer }, 1).disk();
    return one.hear('C', { kind: 'vote-answer', ...answer }, 1).disk();
  };
  const asks: PeerMessage = {
    kind: 'pre-vote',
    term: 7,
    stamp: { term: 9, version: 9 },
    evidence: 'silent',
    leader: 'A',
  };

  it('is seen when the old leader follows without having been away, and said', () => {
    const one = overthrew();
    expect(one.state.raft.leading?.overthrown).toMatchObject({ node: 'A' });
    expect(sentences(one.ack('C', 9), 'false-alarm')).toEqual([]);
    one.ack('A', 9);
    expect(sentences(one, 'false-alarm')).toEqual([
      'the evidence that a was gone was wrong; it is not believed for a minute',
    ]);
  });

  it('is none when it was away for long, or has just come back on another stream', () => {
    const long = overthrew();
    for (let past = 0; past < 2 * raftTimings.checkQuorumMs; past += 100)
      long.feed({ kind: 'ticked' }, 100).ack('C', 9);
    expect(sentences(long.feed({ kind: 'ticked' }, 100).ack('A', 9), 'false-alarm')).toEqual([]);
    const back = overthrew().feed({ kind: 'connected', node: 'A' }, 100).ack('A', 9);
    expect(sentences(back, 'false-alarm')).toEqual([]);
  });

  it('makes this node deaf to such evidence about that node for a minute, and no longer', () => {
    const one = overthrew().ack('A', 9);
    // A leads again, in a newer term, and C asks against it.
    one.append(9, newer(9, 6), { term: 6, stamp: { term: 6, version: 9 } }).disk();
    const heard = (): One => one.append(9, null, { term: 6, stamp: { term: 6, version: 9 } });
    const looks = one.asked('probe');
    expect(heard().hear('C', asks, 10).last('pre-vote-answer')).toMatchObject({ granted: false });
    expect(one.last('pre-vote-answer')?.because).toContain('such evidence was wrong before');
    expect(one.asked('probe')).toBe(looks);
    for (let past = 0; past <= raftTimings.falseAlarmMs; past += 100) {
      one.feed({ kind: 'ticked' }, 100);
      heard();
    }
    one.hear('C', asks, 10);
    expect(one.asked('probe')).toBe(looks + 1);
  });
});

describe('a machine that is silent', () => {
  it('is so as soon as a look found nothing there, and alive when it is heard again', () => {
    const one = new One().elect().ack('A', 8).ack('C', 8);
    expect(livenessOf(one.state, 'C', one.at).state).toBe('alive');
    one.feed({ kind: 'disconnected', node: 'C' }, 1);
    one.feed({ kind: 'probed', node: 'C', result: 'silent', tookMs: 150 }, 150);
    expect(livenessOf(one.state, 'C', one.at).state).toBe('silent');
    expect(livenessOf(one.state, 'A', one.at).state).toBe('alive');
    one.feed({ kind: 'ticked' }, 50).ack('C', 8);
    expect(livenessOf(one.state, 'C', one.at).state).toBe('alive');
  });
});
