import { describe, expect, it } from 'vitest';
import { type MoveLook, nextMoveStep, whyNotUp } from '../../node/hosting/move/move-steps.ts';
import type { HostedMove } from '../../protocol/hosted-move.ts';
import type { Hosting } from '../../scheduler/hosting/hosted-edits.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';

/** SAFETY H7, H10. What each of the two machines does next; the simulation tries them together, over killed agents. */
const at = (path: string) => ({ place: { kind: 'image' as const, path }, hostname: path.slice(1) });
const base = { era: 0, epoch: 4, number: 12 };
const wish: HostedMove = { from: 'A', to: 'B', there: at('/b'), back: at('/a'), since: 1, because: 'asked' };
const hosting = (host: string, epoch: number, move: HostedMove | undefined): Hosting => ({
  ...hostedGitlab(move ? { move } : {}),
  ...{ host, epoch },
});
const idle = { isBegun: false, isClosed: false, hasEnded: false, isReady: false, last: null, hasArrived: false };
const look = (more: Partial<MoveLook> = {}): MoveLook => ({
  ...{ self: 'A', hosting: hosting('A', 4, wish), ...idle, works: true, isSaid: false, vain: null, givenUp: null },
  ...more,
});
const there = (more: Partial<MoveLook> = {}): MoveLook =>
  look({ self: 'B', hosting: hosting('B', 5, { ...wish, base }), works: false, ...more });
const kind = (one: MoveLook): string => nextMoveStep(one).kind;

describe('at the machine that it leaves', () => {
  it('GitLab serves until the other one has all that it needs', () => {
    expect(kind(look())).toBe('wait');
    expect(kind(look({ hosting: hosting('A', 4, undefined) }))).toBe('none');
    expect(kind(look({ self: 'C' }))).toBe('none');
  });

  it('it is written down, then the gate is closed, then GitLab ends, then the last round is taken, and only what has arrived is told', () => {
    const steps: Partial<MoveLook>[] = [
      { isReady: true },
      { isBegun: true },
      { isBegun: true, isClosed: true },
      { isBegun: true, isClosed: true, hasEnded: true },
      { isBegun: true, isClosed: true, hasEnded: true, last: base },
      { isBegun: true, isClosed: true, hasEnded: true, last: base, hasArrived: true },
    ];
    expect(steps.map((one) => kind(look(one)))).toEqual(['begin', 'close', 'end', 'round', 'send', 'moved']);
    expect(nextMoveStep(look(steps.at(-1)))).toEqual({ kind: 'moved', base });
  });

  it('an agent that comes next closes the gate anew before anything else', () => {
    expect(kind(look({ isBegun: true, hasEnded: true, last: base, hasArrived: true }))).toBe('close');
  });

  it('given up before it began it serves on; later that is written down first, and ends as an epoch whose gate is closed', () => {
    const vain = 'the other one has left';
    expect(nextMoveStep(look({ vain }))).toEqual({ kind: 'ends', isClosed: false, because: vain });
    const begun = { isBegun: true, isClosed: true, hasEnded: true, last: base };
    expect(nextMoveStep(look({ ...begun, vain }))).toEqual({ kind: 'give-up', because: vain });
    const givenUp = { ...begun, givenUp: vain };
    // Also where nothing speaks against it any more.
    expect(nextMoveStep(look(givenUp))).toEqual({ kind: 'ends', isClosed: true, because: vain });
    expect(kind(look({ ...givenUp, isClosed: false }))).toBe('close');
    expect(kind(look({ ...givenUp, hasEnded: false }))).toBe('end');
    expect(nextMoveStep(look({ ...givenUp, hasArrived: true })).kind).toBe('ends');
  });
});

describe('at the machine to which it goes', () => {
  it('it is tried; once it works that is written down, then said', () => {
    expect(kind(there())).toBe('try');
    expect(kind(there({ works: true }))).toBe('say');
    expect(kind(there({ works: true, isSaid: true }))).toBe('stands');
  });

  it('that does not come up is given up, its gate closed, its container ended', () => {
    const vain = 'it does not come up';
    expect(nextMoveStep(there({ vain }))).toEqual({ kind: 'give-up', because: vain });
    expect(kind(there({ givenUp: vain }))).toBe('close');
    expect(kind(there({ givenUp: vain, isClosed: true }))).toBe('end');
    expect(nextMoveStep(there({ givenUp: vain, isClosed: true, hasEnded: true }))).toEqual({
      ...{ kind: 'ends', isClosed: true, because: vain },
    });
  });

  it('what was said to stand may stand at any time, and is given up no more', () => {
    expect(kind(there({ isSaid: true, vain: 'it does not come up' }))).toBe('try');
  });
});

describe('whether it comes up there', () => {
  const life = { hasWorked: false, faults: 0, fault: null, because: 'it waits', bootMs: 0 };
  const why = (more: Partial<Parameters<typeof whyNotUp>[0]>): string | null =>
    whyNotUp({ life, mayRun: false, gateProblem: null, tookMs: 130_000, ...more });
  const gateProblem = 'port 8080 is taken';

  it('is in vain after two starts that failed, or after one that took as long as a boot may', () => {
    const failed = { ...life, fault: 'its container ended', faults: 1 };
    expect([why({ life: failed }), why({ life: { ...failed, faults: 2 } })]).toEqual([null, 'its container ended']);
    expect(why({ life: failed, tookMs: 1_200_000 })).toBe('its container ended');
    expect(why({ life: { ...failed, faults: 2, hasWorked: true } })).toBeNull();
  });

  it('is in vain where no gate can stand, as then nothing is started that could fail', () => {
    expect(why({ gateProblem })).toBe(gateProblem);
    expect(why({ gateProblem, tookMs: 60_000 })).toBeNull();
    // Nobody leads, or what boots has lost its gate for a moment.
    expect([
      why({}),
      why({ gateProblem, life: { ...life, bootMs: 1000 } }),
      why({ gateProblem, mayRun: true }),
    ]).toEqual([null, null, null]);
  });
});
