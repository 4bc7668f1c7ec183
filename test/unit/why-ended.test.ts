import { describe, expect, it } from 'vitest';
import { WhyAnswer } from '../../protocol/job-rows.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { rfc3339 } from '../../scheduler/jobs/civil-time.ts';
import { why } from '../../scheduler/snapshot.ts';
import { Lab } from './jobs-lab.ts';
import { labMeasured, labRun } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

describe('why', () => {
  it('of a job that is over says where it ran, how it ended and why it ran there; of one before the newest sixty nothing', () => {
    const lab = new Lab({ machines: labMeasured });
    const run = labRun({
      run: 'r7',
      job: 7,
      node: 'desktop-2',
      state: 'delivered',
      because: 'desktop-2: the only machine with room',
      takenAt: lab.wallMs - 30_000,
      startedAt: lab.wallMs - 29_000,
      finishedAt: lab.wallMs - 17_000,
      result: { state: 'failed', exitCode: 3, reason: 'script_failure', because: 'script failed: exit code 3' },
    });
    const view = viewOf(lab, 'kang');
    const ledger = { ...(view.ledger as Ledger), runs: { ...view.ledger?.runs, r7: run } };
    expect(WhyAnswer.parse(why({ ...view, ledger }, 7))).toMatchObject({
      state: 'failed',
      because: 'script failed: exit code 3',
      machines: [{ node: 'desktop-2', fits: true, because: 'had it: the only machine with room' }],
      ended: {
        node: 'desktop-2',
        startedAt: rfc3339(lab.wallMs - 29_000),
        finishedAt: rfc3339(lab.wallMs - 17_000),
        exitCode: 3,
      },
    });
    expect(why(viewOf(lab, 'kang'), 7)).toBeNull();
  });
});
