import { describe, expect, it, test } from 'vitest';
import {
  type GitlabAct,
  type GitlabLife,
  type GitlabLook,
  gitlabTimings,
  isFlagged,
  isUpSoon,
  newLife,
  nextLife,
  pressureOf,
  unflagged,
} from '../../node/hosting/gitlab-state.ts';

/** A look a second, from a moment on; `look(what)` says what is there. */
function life(hasStood: boolean) {
  let now = 1_000_000;
  let at: GitlabLife = newLife(hasStood);
  const acts: GitlabAct[] = [];
  const look = (more: Partial<GitlabLook>, seconds = 1): GitlabLife => {
    for (let i = 0; i < seconds; i++) {
      now += 1000;
      const step = nextLife(at, {
        nowMs: now,
        container: 'running',
        isFrozen: false,
        pressure: null,
        mayRun: true,
        ...more,
      });
      at = step.life;
      if (step.act !== 'none') acts.push(step.act);
    }
    return at;
  };
  return { look, acts, person: () => (at = unflagged(at)), last: () => at };
}

const boots = { problem: 'the sign-in page answers 502' };
const well = { problem: null };
const away = { container: 'absent' } as const;

describe("GitLab's state", () => {
  it('absent → deploying → healthy', () => {
    const { look, acts } = life(false);
    expect(look(away)).toMatchObject({ condition: 'deploying', because: 'it is started' });
    expect(look(boots, 100)).toMatchObject({ condition: 'deploying', because: expect.stringMatching(/^it boots: /) });
    expect(look(well)).toMatchObject({ condition: 'healthy', because: 'it answers' });
    expect(acts).toEqual(['start']);
  });

  it('without a lease nothing is started, and nothing is a fault', () => {
    const { look, acts, last } = life(true);
    look({ ...away, mayRun: false }, 600);
    look({ container: 'ended', ended: 'exit code 0', mayRun: false }, 600);
    look({ ...boots, mayRun: false }, 3000);
    expect(acts).toEqual([]);
    expect(last()).toMatchObject({ faults: 0, because: expect.stringMatching(/waits for the leave/) });
  });

  it('a slow boot is said, and only one beyond all measure is begun again', () => {
    const { look, acts } = life(false);
    look(away);
    expect(look(boots, 290).because).toMatch(/^it boots: /);
    expect(look(boots, 100).because).toMatch(/^it has booted for 7 min, longer than it should: /);
    expect(acts).toEqual(['start']);
    look(boots, 900);
    expect(acts).toEqual(['start', 'restart']);
    expect(look(boots, 60)).toMatchObject({ condition: 'deploying', because: expect.stringMatching(/^it boots: /) });
  });

  it('a boot that stood still for an hour is not slow', () => {
    const { look, acts } = life(false);
    look(away);
    look(boots, 100);
    look({ isFrozen: true }, 3600);
    expect(look(boots, 100).because).toMatch(/^it boots: /);
    expect(acts).toEqual(['start']);
  });

  it('frozen by the watchdog is neither ill nor repaired, and has a moment afterwards', () => {
    const { look, acts } = life(true);
    look(well);
    look({ ...boots }, 10);
    expect(look({ isFrozen: true, mayRun: false }, 900)).toMatchObject({
      condition: 'healthy',
      because: expect.stringMatching(/stands still/),
    });
    expect(look(boots, 10).condition).toBe('healthy');
    expect(look(boots, 20).condition).toBe('degraded');
    expect(look(well).condition).toBe('healthy');
    expect(acts).toEqual([]);
  });

  it('one failed question changes nothing; it is degraded after a while, and started anew when it stays so', () => {
    const { look, acts } = life(true);
    look(well);
    expect(look(boots, 5).condition).toBe('healthy');
    expect(look(well).condition).toBe('healthy');
    expect(look(boots, 100)).toMatchObject({ condition: 'degraded', because: boots.problem });
    expect(acts).toEqual([]);
    look(boots, 100);
    expect(acts).toEqual(['restart']);
    expect(look(boots, 30)).toMatchObject({ condition: 'repairing' });
  });

  it('an ended container is started again at once, then later and later, and after the last time a person is needed', () => {
    const { look, acts, person, last } = life(true);
    look(well);
    const dies = (): GitlabLife => look({ container: 'ended', ended: 'exit code 137' });
    expect(dies()).toMatchObject({ condition: 'repairing', because: 'its container ended: exit code 137' });
    expect(acts).toEqual(['restart']);
    look(boots, 10);
    expect(dies().because).toMatch(/; tried again in 10 s$/);
    look({ container: 'ended' }, 9);
    expect(acts).toHaveLength(1);
    look({ container: 'ended' }, 1);
    expect(acts).toHaveLength(2);
    for (const seconds of gitlabTimings.repairWaitMs.slice(2).map((ms) => ms / 1000)) {
      look(boots, 5);
      look({ container: 'ended' }, seconds + 1);
    }
    expect(acts).toHaveLength(gitlabTimings.repairWaitMs.length);
    look(boots, 5);
    expect(look({ container: 'ended', ended: 'exit code 1' }, 7200)).toMatchObject({
      condition: 'failed',
      because: 'its container ended: exit code 1; 5 repairs did not help, so it is left as it is',
    });
    expect([acts.length, isFlagged(last())]).toEqual([5, true]);
    person();
    look({ container: 'ended' });
    expect(acts).toHaveLength(6);
  });

  it('what has worked for half an hour has no past', () => {
    const { look, last } = life(true);
    look(well);
    look({ container: 'ended' });
    look(well, 1790);
    expect(last().faults).toBe(1);
    look(well, 20);
    expect(last().faults).toBe(0);
  });

  it('a start that fails is tried again with its cause, and given up like a repair', () => {
    const { look, acts } = life(false);
    look(away);
    const failed = { ...away, startFailed: 'image x cannot be pulled' };
    expect(look(failed)).toMatchObject({ condition: 'deploying', because: failed.startFailed });
    expect(acts).toEqual(['start', 'start']);
    expect(look(failed).because).toBe('image x cannot be pulled; tried again in 10 s');
    look(away, 9);
    expect(acts).toHaveLength(2);
    look(away, 1);
    expect(acts).toHaveLength(3);
    for (const ms of gitlabTimings.repairWaitMs.slice(2)) {
      look(failed);
      look(away, ms / 1000);
    }
    expect(look(failed)).toMatchObject({
      condition: 'failed',
      because: expect.stringMatching(/^image x cannot be pulled; 5/),
    });
    look(away, 3600);
    expect(acts).toHaveLength(6);
  });

  it('a container that an agent of before began is as old as it is', () => {
    const { look } = life(true);
    expect(look({ ...boots, ageMs: 400_000 }).because).toMatch(/^it has booted for 7 min/);
  });

  it('a boot should be over from half of the time on that the last one took, and is no more once it takes four times as long', () => {
    const { look, last } = life(false);
    const isSoon = (): boolean => isUpSoon(last(), 100_000);
    look(away);
    look(boots, 40);
    expect(isSoon()).toBe(false);
    look(boots, 20);
    expect(isSoon()).toBe(true);
    look(boots, 400);
    expect(isSoon()).toBe(false);
    look(well);
    expect(isUpSoon(last(), 600_000)).toBe(false);
  });

  it('one slow answer to the first question of an agent costs no GitLab that has served for days, or whose clock went ahead', () => {
    const { look, acts, last } = life(true);
    expect(look({ ...boots, ageMs: 15 * 86_400_000 }).condition).toBe('repairing');
    look(boots, 100);
    expect([acts, last().faults]).toEqual([[], 0]);
    expect(look(well).condition).toBe('healthy');
  });

  it('what an agent of before left ill is begun again after as long as what was seen to work', () => {
    const { look, acts } = life(true);
    look({ ...boots, ageMs: 86_400_000 });
    look(boots, gitlabTimings.deadMs / 1000 - 10);
    expect(acts).toEqual([]);
    look(boots, 20);
    expect(acts).toEqual(['restart']);
  });

  it.each([
    ['stands still', { isFrozen: true, mayRun: false }],
    ['may not run', { mayRun: false }],
  ])('what is ill is begun again also where it %s for a moment each minute; that time does not count', (_, rest) => {
    const { look, acts } = life(true);
    look(well);
    for (let minute = 0; minute < 3; minute++) {
      look(boots, 50);
      look({ ...boots, ...rest }, 40);
    }
    expect(acts).toEqual([]);
    look(boots, 40);
    expect(acts).toEqual(['restart']);
  });

  it('what stood still for a moment each few minutes has worked for half an hour all the same', () => {
    const { look, last } = life(true);
    look(well);
    look({ container: 'ended' });
    for (let times = 0; times < 7; times++) {
      look(well, 260);
      look({ isFrozen: true, mayRun: false }, 10);
    }
    look(well);
    expect(last().faults).toBe(0);
  });
});

test.each([
  [{ freeBytes: 400 << 20, memory: null }, /disk is almost full: 400 MiB are left/],
  [{ freeBytes: 400 << 20, memory: null, kept: 'fenced-1' }, /artifacts, let go of .* \(.* fenced drop fenced-1\), or/],
  [{ freeBytes: 2 ** 32, memory: null }, null],
  [
    { freeBytes: null, memory: { usedBytes: 3.9 * 2 ** 30, limitBytes: 2 ** 32 } },
    /uses 3994 of the 4096 MiB of memory/,
  ],
  [{ freeBytes: null, memory: { usedBytes: 3 * 2 ** 30, limitBytes: 2 ** 32 } }, null],
  [{ freeBytes: null, memory: { usedBytes: 3 * 2 ** 40, limitBytes: 0 } }, null],
])(
  'what will end it soon: %j',
  ({
    kept,
    ...seen
  }: { kept?: string; freeBytes: number | null; memory: { usedBytes: number; limitBytes: number } | null }, words) => {
    const rooms = { ...seen, fenced: () => kept };
    if (words === null) expect(pressureOf(rooms)).toBe(null);
    else expect(pressureOf(rooms)).toMatch(words);
  },
);

test('pressure makes it degraded, with its cause', () => {
  const { look } = life(true);
  expect(look({ ...well, pressure: 'its disk is almost full' })).toMatchObject({
    condition: 'degraded',
    because: 'its disk is almost full',
  });
  expect(look(well).condition).toBe('healthy');
});
