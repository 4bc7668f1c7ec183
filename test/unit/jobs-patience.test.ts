import { describe, expect, it } from 'vitest';
import type { Ledger } from '../../protocol/ledger.ts';
import type { Lab } from './jobs-lab.ts';
import { shown, untilLost, withRun } from './jobs-lost-lab.ts';

describe('how long a machine that is away keeps its jobs (SAFETY J1, J2)', () => {
  /** desktop-1 has left, and said when it is back. */
  const leaves = (lab: Lab, backMs?: number): void => {
    const leave = (ledger: Ledger): Ledger => ({
      ...ledger,
      nodes: {
        ...ledger.nodes,
        'desktop-1': { ...ledger.nodes['desktop-1']!, left: true, ...(backMs === undefined ? {} : { backMs }) },
      },
    });
    lab.accepted = leave(lab.accepted);
    lab.committed = leave(lab.committed);
    lab.vanish('desktop-1');
  };

  it('who leaves politely and says when it is back keeps its runs until then (SAFETY J2)', () => {
    const lab = withRun();
    leaves(lab, 60_000);
    expect(untilLost(lab, 90_000)).toBeGreaterThanOrEqual(60_000);
    expect(shown(lab).because).toBe(
      'desktop-1 has not answered for 60 s; when it left, it said that it would be back within 60 s',
    );
  });

  it('and without a word of coming back it counts as any other, silent or with its agent gone', () => {
    const asleep = withRun();
    leaves(asleep);
    expect(untilLost(asleep, 30_000)).toBeLessThan(6000);
    const ended = withRun();
    leaves(ended);
    ended.node('desktop-1').liveness = { state: 'dead', since: ended.at };
    expect(untilLost(ended, 90_000)).toBeGreaterThanOrEqual(60_000);
  });

  it.each([
    ['the floor', undefined, 3000, ' (setting silentMs)'],
    ['a patient mesh', 30_000, 30_000, ' (setting silentMs)'],
    ['more than a minute', 300_000, 300_000, ' (setting silentMs)'],
    // Whoever wrote it: a run must not go on beside its retry.
    ['less than a frozen run needs', 10, 3000, ' (setting silentMs)'],
  ])(
    '%s: a silent machine keeps a young run for %s ms, and the sentence names the setting',
    (_, value, limit, words) => {
      const set = (ledger: Ledger): Ledger => ({
        ...ledger,
        settings: { ...ledger.settings, ...(value === undefined ? {} : { silentMs: value }) },
      });
      const lab = withRun({}, { ledger: set });
      lab.vanish('desktop-1');
      const took = untilLost(lab, 400_000);
      expect(took).toBeGreaterThanOrEqual(limit - 100);
      expect(took).toBeLessThan(limit * 1.1 + 2500);
      expect(shown(lab).because.endsWith(words), shown(lab).because).toBe(true);
    },
  );
});
