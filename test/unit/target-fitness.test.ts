import { describe, expect, it } from 'vitest';
import { FitnessLook, fitnessOf, type TargetFitness } from '../../node/hosting/move/target-fitness.ts';

const line = (state: 'ok' | 'warn' | 'fail', what: string) => ({ state, what, sentence: `${what} is ${state}` });

describe('whether GitLab could go on at a machine by itself (SAFETY H10)', () => {
  it('is never where a move to it would be refused; rather not where something would hold it up, or its owner has it', () => {
    const of = (over: object) => fitnessOf({ checks: [line('ok', 'image')], mustPull: false, paused: null, ...over });
    expect(of({})).toEqual({ never: null, rather: null });
    expect(of({ checks: [line('warn', 'memory'), line('fail', 'ports')] }).never).toBe('ports is fail');
    expect(of({ checks: [line('warn', 'memory')] })).toEqual({ never: null, rather: 'memory is warn' });
    expect(of({ checks: [line('warn', 'address')] }).rather).toBeNull();
    expect(of({ mustPull: true }).rather).toContain('has to be pulled first');
    expect(of({ paused: 'paused by its owner' })).toEqual({ never: null, rather: 'paused by its owner' });
  });

  it('is looked at beside whoever asks, who waits a moment and then goes by what was known', async () => {
    let now = 0;
    let looks = 0;
    let answer: (found: TargetFitness) => void = () => undefined;
    const look = (): Promise<TargetFitness> => {
      looks += 1;
      return new Promise((resolve) => {
        answer = resolve;
      });
    };
    const known = new FitnessLook({ bootMs: () => now });
    const first = await known.of('a', look, 5);
    expect(first).toEqual({ never: null, rather: 'it has not found out yet whether it could' });
    // One look at a time; its answer is there for the next question.
    const second = known.of('a', look, 1000);
    answer({ never: 'port 80 is taken', rather: null });
    expect([await second, looks]).toEqual([{ never: 'port 80 is taken', rather: null }, 1]);
    expect((await known.of('a', look, 0)).never).toBe('port 80 is taken');
    now = 20_000;
    expect((await known.of('a', look, 1)).never).toBe('port 80 is taken');
    expect(looks).toBe(2);
    now = 90_000;
    expect((await known.of('a', look, 1)).rather).toBe('it has not found out yet whether it could');
    // What was found of another GitLab is nothing of this one.
    expect((await known.of('b', async () => Promise.reject(new Error('no engine')), 100)).rather).toContain(
      'no engine',
    );
  });
});
