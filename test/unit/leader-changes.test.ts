import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { snapshot } from '../../scheduler/snapshot.ts';
import { leaderChangesOf } from '../../scheduler/views.ts';
import { Lab } from './jobs-lab.ts';
import { labMeasured } from './jobs-lab-machines.ts';
import { One } from './raft-one.ts';
import { viewOf } from './snapshot-lab.ts';

const said = (one: One, from: string, term: number): One =>
  one.hear(from, {
    kind: 'append',
    term,
    round: 1,
    stamp: { term, version: 7 },
    committed: { term: 0, version: 0 },
    ledger: null,
  });

describe('changes of leader', () => {
  it('are counted for an hour, the first leader after a start not', () => {
    const one = new One();
    said(one, 'A', 4);
    said(one, 'A', 4);
    expect(leaderChangesOf(one.state, one.at)).toBe(0);
    said(one, 'C', 5);
    one.at += 1_800_000;
    // The same machine in another term led no more meanwhile.
    said(one, 'C', 6);
    expect(leaderChangesOf(one.state, one.at)).toBe(2);
    expect(leaderChangesOf(one.state, one.at + 1_800_000)).toBe(1);
    expect(leaderChangesOf(one.state, one.at + 3_600_000)).toBe(0);
  });

  it('are counted by who leads, too, and kept within a bound', () => {
    const one = new One().elect();
    expect(leaderChangesOf(one.state, one.at)).toBe(0);
    one.ack('A', null).feed({ kind: 'ticked' }, 900).feed({ kind: 'ticked' }, 900);
    expect(one.state.raft.leading).toBeNull();
    for (let term = 5; term < 500; term += 1) said(one, 'A', term);
    expect(leaderChangesOf(one.state, one.at)).toBe(64);
  });

  it('need a look when there are more than the alert lets pass', () => {
    const lab = new Lab({ machines: labMeasured });
    lab.run(1000);
    const lines = (leaderChanges: number) =>
      snapshot(viewOf(lab, 'kang', { leaderChanges })).attention.filter(({ code }) => code === 'leader-changes');
    const rules = readFileSync('deploy/prometheus/autogit-node.rules.yml', 'utf8');
    const passes = Number(/autogit_leader_changes_total\[1h\]\)\) > (\d+)/.exec(rules)?.[1]);
    expect(lines(passes)).toEqual([]);
    expect(lines(passes + 1)).toEqual([
      {
        code: 'leader-changes',
        severity: 'warn',
        sentence:
          'the leader has changed 5 times within the last hour: a machine or the network between them is too slow, or breaks off',
        fix: 'autogit-node events',
      },
    ]);
  });
});
