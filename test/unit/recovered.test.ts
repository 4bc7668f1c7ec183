import { describe, expect, it } from 'vitest';
import { leaseLimits, mayContinue, signOfLifeMs } from '../../node/runs/run-lease.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { Attention } from '../../protocol/status.ts';
import { jobTimings } from '../../scheduler/jobs/job-timings.ts';
import { unseenIn } from '../../scheduler/recovered.ts';
import { attentionOf } from '../../scheduler/snapshot-attention.ts';
import { quorumOf } from '../../scheduler/snapshot-quorum.ts';
import { isRecovering, leaderContactAt, runContactAt } from '../../scheduler/views.ts';
import type { Lab } from './jobs-lab.ts';
import { shown, untilLost, withRun } from './jobs-lost-lab.ts';
import { One, three } from './raft-one.ts';
import { viewOf } from './snapshot-lab.ts';

/**
 * A mesh that was recovered by force (SAFETY J1, L15): a machine of the former era may have been switched on again where
 * nobody here hears it, lead there, and give jobs up at GitLab. Found by the simulation, seeds 26 and 76.
 */
const recoveredWithout =
  (off: string[], unseen: string[] | undefined = off) =>
  (ledger: Ledger): Ledger => ({
    ...ledger,
    recovery: {
      by: 'kang',
      at: 0,
      from: { era: ledger.era, stamp: ledger.stamp },
      off,
      ...(unseen ? { unseen } : {}),
    },
  });
const recovered = (off: string[], unseen?: string[]): Lab => withRun({}, { ledger: recoveredWithout(off, unseen) });

/** desktop-1 had gone before kang recovered the mesh: it never told anybody of the new era. */
function goneBefore(off: string[]): Lab {
  const lab = withRun();
  lab.vanish('desktop-1');
  lab.committed = recoveredWithout(off, ['desktop-1'])(lab.committed);
  lab.accepted = lab.committed;
  lab.term += 1;
  return lab;
}

const linesOf = (lab: Lab): Attention[] => {
  const view = viewOf(lab, 'kang');
  return attentionOf(view, [], quorumOf(view));
};

describe('after a recovery by force', () => {
  it('all others are unseen, and no leader’s word lets a run go on, the own one included', () => {
    const one = new One(three()).feed({ kind: 'ticked' }, 60_000);
    one
      .feed({ kind: 'recovery-asked', id: 'r', era: 'fresh', seenOff: ['a', 'c'] })
      .disk()
      .disk();
    expect(unseenIn(one.state.raft.accepted)).toEqual(['A', 'C']);
    expect(one.state.raft.leading).not.toBeNull();
    expect(leaderContactAt(one.state)).toBeGreaterThan(0);
    expect(runContactAt(one.state)).toBe(Number.NEGATIVE_INFINITY);
    expect(isRecovering(one.state)).toBe(true);
    // An older version recovered, or nobody did: as it was.
    expect(unseenIn({ ...three(), recovery: { ...one.state.raft.accepted.recovery!, unseen: undefined } })).toEqual([]);
    expect(runContactAt(new One(three()).state)).toBe(leaderContactAt(new One(three()).state));
  });

  it('GitLab’s own answer does, asked twice a second', () => {
    const view = { atMs: 100_000, leaderAtMs: Number.NEGATIVE_INFINITY, gitlabAtMs: 98_500, sinceMs: 0 };
    const rest = { frozenAtMs: null, verifyFromMs: null, leaderBackAtMs: Number.POSITIVE_INFINITY };
    expect(mayContinue({ ...view, ...rest })).toEqual({ mayGoOn: true });
    expect(signOfLifeMs({ ...view, ...rest }, 30_000)).toBe(leaseLimits.askMs);
    expect(mayContinue({ ...view, ...rest, gitlabAtMs: 97_000 })).toEqual({
      mayGoOn: false,
      because: "GitLab was not heard for 3.0 s, and no leader's word counts here yet",
    });
  });

  it('who tells of its runs has come over, but what it decided before may still reach GitLab for a while', () => {
    const lab = recovered([], ['desktop-1']);
    lab.run(jobTimings.cameOverMs - 5000);
    expect(unseenIn(lab.committed)).toEqual(['desktop-1']);
    lab.run(6000);
    expect(unseenIn(lab.committed)).toEqual([]);
    expect(shown(lab).state).toBe('running');
  });

  it('a machine whose first word was lost says it again, also one without runs', () => {
    const lab = goneBefore(['desktop-1']);
    const desktop = lab.node('desktop-1');
    desktop.up = true;
    desktop.liveness = { state: 'alive', since: lab.at };
    const send = lab.send.bind(lab);
    let lost = 0;
    lab.send = (from, to, message) => {
      if (from === 'desktop-1' && message.kind === 'own-runs' && lost++ === 0) return;
      send(from, to, message);
    };
    lab.run(jobTimings.cameOverMs + 5000);
    expect([unseenIn(lab.committed), lost > 1]).toEqual([[], true]);
  });

  it('a machine that is not heard stays unseen; one that was removed counts no more', () => {
    const lab = goneBefore(['desktop-1']);
    lab.run(600_000);
    expect(unseenIn(lab.committed)).toEqual(['desktop-1']);
    const { 'desktop-1': _, ...nodes } = lab.committed.nodes;
    expect(unseenIn({ ...lab.committed, nodes })).toEqual([]);
  });

  it('runs are given up on machines that a person saw switched off, not on those that merely do not answer', () => {
    expect(untilLost(goneBefore(['desktop-1']), 30_000)).toBeLessThan(5000);
    const silent = goneBefore([]);
    silent.run(600_000);
    expect(shown(silent).state).toBe('running');
    expect(linesOf(silent)).toContainEqual({
      code: 'run-unheard',
      severity: 'warn',
      sentence:
        'nobody saw desktop-1 switched off: job 4815 may go on there, and is not given up before it is heard or removed',
      fix: 'only if it never comes back: autogit-node forget desktop-1',
    });
  });

  it('the leader itself, and who told it before it might act, have come over too', () => {
    const lab = recovered([], ['desktop-1', 'kang']);
    lab.mayAct = false;
    lab.term += 1;
    lab.elect('kang');
    lab.run(50);
    lab.mayAct = true;
    lab.run(jobTimings.cameOverMs + 3000);
    expect(unseenIn(lab.committed)).toEqual([]);
  });

  it('a machine that has come back is not one to be forgotten while it is not counted on yet', () => {
    const lab = recovered([], ['desktop-1']);
    lab.run(4000);
    expect(linesOf(lab).filter(({ code }) => code === 'former-era')).toEqual([
      {
        code: 'former-era',
        severity: 'info',
        sentence: 'desktop-1 is back after the recovery, and counted on again when heard for 30 s',
        fix: null,
      },
    ]);
    lab.run(jobTimings.cameOverMs);
    expect(linesOf(lab).filter(({ code }) => code === 'former-era')).toEqual([]);
  });

  it('status says who is waited for, what that means, and what ends it', () => {
    const lab = recovered(['desktop-1']);
    lab.vanish('desktop-1');
    lab.run(5000);
    expect(linesOf(lab).find(({ code }) => code === 'former-era')).toEqual({
      code: 'former-era',
      severity: 'info',
      sentence: 'desktop-1 is not known to follow the recovery: until then jobs go on only while GitLab answers',
      fix: 'only if it never comes back: autogit-node forget desktop-1',
    });
  });
});
