import { expect, it } from 'vitest';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { outlasts, scheduleOf } from '../lab/hosting/probe-schedule.ts';
import { type Ack, whatTwoDid } from '../lab/hosting/probe-writers.ts';
import { agreed } from '../lab/hosting/well.ts';
import { Chance } from '../sim/chance.ts';

const doors = ['http://10.0.0.1:8080', 'http://10.0.0.2:8080'];
const ack = (by: string, start: number, end = start + 20, target = doors[0] as string): Ack => ({
  from: 'desktop-2',
  ...{ target, start, end, by },
});

it('the probe says who acknowledged beside whom (SAFETY H1, H7)', () => {
  const moved = [ack('kang', 0), ack('kang', 900), ack('desktop-1', 9000), ack('desktop-1', 9900)];
  expect(whatTwoDid(moved, doors, 1)).toBeNull();
  expect(whatTwoDid(moved, doors, 0)).toContain('changed 1 times in 0 epochs');
  expect(whatTwoDid([...moved, ack('kang', 9950)], doors, 1)).toContain('changed 2 times in 1 epochs');
  expect(whatTwoDid([...moved, ack('kang', 9910, 9960)], doors, 5)).toContain('acknowledged within 10 ms');
  expect(whatTwoDid([ack('kang', 0, 20, 'http://172.18.0.2')], doors, 0)).toContain("a container's own address");
  // Read by a machine that stood still: given at any time since it was asked for.
  expect(whatTwoDid([...moved, ack('kang', 920, 9950)], doors, 1)).toBeNull();
});

it('a seed is one row of schedules, and its cuts, stops and kills aim at host and leader', () => {
  const all = (seed: number) => {
    const chance = new Chance(seed);
    return Array.from({ length: 200 }, () => scheduleOf(chance, ['kang', 'desktop-1', 'desktop-2'], ['kang'])).flat();
  };
  expect(all(7)).toEqual(all(7));
  expect(all(7)).not.toEqual(all(8));
  const faults = all(1);
  expect(new Set(faults.map(({ kind }) => kind)).size).toBe(6);
  expect(faults.filter(({ of }) => of.includes('kang')).length).toBeGreaterThan(faults.length / 2);
  expect(faults.filter(({ kind, forMs }) => kind === 'stop machine' && forMs > 4000).length).toBeGreaterThan(20);
  const stop = (forMs: number) => [{ kind: 'stop agent' as const, of: ['kang'], fromMs: 0, forMs }];
  expect([outlasts(stop(4001), ['stop agent'], 4000), outlasts(stop(4000), ['stop agent'], 4000)]).toEqual([
    true,
    false,
  ]);
  expect(outlasts(stop(9000), ['one way'], 4000)).toBe(false);
  for (const { kind, of } of faults) expect(new Set(of).size).toBe(kind === 'one way' || kind === 'both ways' ? 2 : 1);
});

it('machines agree on who hosts also once GitLab has moved, and not while it does', () => {
  const ended = { from: 'kang', to: 'desktop-1', isDone: true, because: 'kang was silent', at: '2026-11-29T23:52:52Z' };
  const of = (more: object) => ({ host: 'desktop-1', epoch: 2, ...more }) as StatusSnapshot['gitlab'];
  const after = of({ move: { wish: null, doing: null, ended } });
  expect([agreed([of({}), of({})])?.host, agreed([after, after])?.host]).toEqual(['desktop-1', 'desktop-1']);
  const moves = of({ move: { wish: { from: 'kang', to: 'desktop-1' }, doing: null, ended: null } });
  for (const told of [
    [moves, moves],
    [after, moves],
    [after, of({ epoch: 1 })],
    [after, of({ host: 'kang' })],
    [of({ host: null })],
    [],
  ])
    expect(agreed(told)).toBeNull();
});
