import { describe, expect, it } from 'vitest';
import { endForOwner, ownerWants, type PauseNowTools } from '../../node/agent/pause-now.ts';
import type { Run } from '../../protocol/ledger.ts';
import { labRun as runOf } from './jobs-lab-machines.ts';

const labRun = (over: Partial<Run> & { run: string }): Run => runOf({ node: 'kang', ...over });

/** Runs that do at once what they are told, as far as a test lets them. */
class FakeRuns implements PauseNowTools {
  list: Run[];
  ended: string[] = [];
  retried: number[] = [];
  warned: string[] = [];
  refusal: Error | null = null;
  mine = true;
  paused = true;
  constructor(...list: Run[]) {
    this.list = list;
  }
  runs = (): Run[] => this.list;
  end = (run: string): void => void this.ended.push(run);
  retry = async (job: number): Promise<void> => {
    this.retried.push(job);
    if (this.refusal) throw this.refusal;
  };
  warn = (sentence: string): void => void this.warned.push(sentence);
  isMine = (): boolean => this.mine;
  isPaused = (): boolean => this.paused;
  change(run: string, over: Partial<Run>): void {
    this.list = this.list.map((one) => (one.run === run ? { ...one, ...over } : one));
  }
}
const result = (because: string, state: 'failed' | 'success' = 'failed') => ({
  state,
  exitCode: null,
  reason: null,
  because,
});
const failed = result(ownerWants('gpu'));
const onGpu = (run: string, job: number): Run => labRun({ run, job, state: 'running', gpus: ['GPU-1'] });
const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 500));

describe('pause --gpu --now', () => {
  it('ends what is on a GPU and nothing else, and runs it again once GitLab knows that it failed', async () => {
    const fake = new FakeRuns(onGpu('a', 1), labRun({ run: 'b', job: 2, state: 'running', gpus: [] }));
    expect(endForOwner('gpu', fake)).toEqual([1]);
    expect(fake.ended).toEqual(['a']);
    fake.change('a', { state: 'finished', result: failed });
    await soon();
    expect(fake.retried).toEqual([]);
    fake.change('a', { state: 'delivered' });
    await soon();
    expect(fake.retried).toEqual([1]);
    expect(fake.ended).toEqual(['a']);
    fake.mine = false;
  });

  it('without --gpu ends all; one that begins a moment later too, since GitLab had given it away before', async () => {
    const fake = new FakeRuns(labRun({ run: 'b', job: 2, state: 'running', gpus: [] }));
    expect(endForOwner('all', fake)).toEqual([2]);
    fake.list = [...fake.list, labRun({ run: 'c', job: 3, state: 'taken' })];
    await soon();
    expect(fake.ended).toEqual(['b', 'c']);
    fake.mine = false;
  });

  it('after resume ends nothing more: the job that comes back at once is welcome', async () => {
    const fake = new FakeRuns(onGpu('a', 1));
    endForOwner('gpu', fake);
    fake.paused = false;
    fake.list = [...fake.list, onGpu('again', 2)];
    await soon();
    expect(fake.ended).toEqual(['a']);
    fake.mine = false;
  });

  it.each([
    [
      'its script had passed just before',
      { state: 'delivered' as const, result: result('the script passed', 'success') },
    ],
    ['a person canceled it', { state: 'delivered' as const, result: result('canceled at GitLab') }],
    ['GitLab disowned it', { state: 'discarded' as const, result: failed }],
    ['the mesh gave it up', { state: 'lost' as const, result: null }],
  ])('runs nothing again when %s', async (_, end) => {
    const fake = new FakeRuns(onGpu('a', 1));
    endForOwner('gpu', fake);
    fake.change('a', end);
    await soon();
    expect([fake.retried, fake.warned]).toEqual([[], []]);
    fake.mine = false;
  });

  it("says when it cannot be run again, but not when the job's own retry was sooner", async () => {
    for (const [sentence, warned] of [
      ['job 1 (train) was tried again already', 0],
      ['no GitLab with an admin token is connected to this mesh', 1],
    ] as const) {
      const fake = new FakeRuns(onGpu('a', 1));
      fake.refusal = new Error(sentence);
      endForOwner('gpu', fake);
      fake.change('a', { state: 'delivered', result: failed });
      await soon();
      expect(fake.warned).toHaveLength(warned);
      expect(fake.retried).toEqual([1]);
      fake.mine = false;
    }
  });
});
