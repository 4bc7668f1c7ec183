import { describe, expect, it } from 'vitest';
import { promisedRound } from '../../node/hosting/move/promised-round.ts';

const round = { era: 0, epoch: 4, number: 12 };
const place = { kind: 'image', path: '/var/lib/copies' } as const;
const fit = {
  isAllowed: true,
  promise: () => ({ round, takenAt: 5, place }),
  host: { check: async () => ({ arch: 'amd64' }) },
  at: () => ({ hostname: '10.0.0.2' }),
};

describe('what a machine tells a leader that asks with which round GitLab could go on there (SAFETY H10)', () => {
  it('is its newest round, with where it would lie and how it is reached', async () => {
    expect(await promisedRound(fit)).toEqual({
      ...{ round, takenAt: 5, because: null },
      there: { place, hostname: '10.0.0.2' },
    });
  });

  it('is nothing, in words, where its owner refuses, its engine is away or silent, or it holds none; then nothing is promised either', async () => {
    let promised = 0;
    const promise = () => {
      promised += 1;
      return fit.promise();
    };
    const told = async (over: object) => {
      const { because, ...rest } = await promisedRound({ ...fit, promise, ...over });
      expect(rest).toEqual({ round: null, takenAt: null, there: null });
      return because;
    };
    expect(await told({ isAllowed: false })).toContain("its owner's settings");
    expect(await told({ host: { check: () => Promise.reject(new Error('no socket')) } })).toContain('no socket');
    expect(await told({ host: { check: () => new Promise(() => {}) } })).toContain('no answer within 1.5 s');
    expect(promised).toBe(0);
    expect(await told({ promise: () => ({ because: 'its disk is full' }) })).toBe('its disk is full');
  });
});
