import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { inEach, Watchdog, writeBeat } from '../../node/watchdog/watchdog.ts';

const clock = systemClock();
let home: string;
let now = 0;
let watchdog: Watchdog;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'autogit-late-'));
  now = 0;
  watchdog = new Watchdog(home, { ...clock, bootMs: () => now });
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const group = (name: string): string => join(home, name);
/** As a group of version 1 has it. */
const begin = (name: string): void => {
  mkdirSync(group(name));
  writeFileSync(join(group(name), 'freezer.state'), 'THAWED');
};
const stateOf = (name: string): string => readFileSync(join(group(name), 'freezer.state'), 'utf8');
const beat = (until: number): Promise<void> => {
  const freeze = { kind: 'cgroup' as const, path: group('own'), also: [group('db'), group('late')] };
  return writeBeat(home, { bootId: clock.bootId(), runs: [{ run: 'r1', until, freeze }] });
};
const lookAt = (at: number): void => {
  now = at;
  watchdog.look();
};

it('freezes a service that the engine starts when its run stands still already, and lets it go on with the run (J1)', async () => {
  for (const name of ['own', 'db']) begin(name);
  await beat(1000);
  lookAt(500);
  expect([stateOf('own'), stateOf('db')]).toEqual(['THAWED', 'THAWED']);
  lookAt(1001);
  expect([stateOf('own'), stateOf('db')]).toEqual(['FROZEN', 'FROZEN']);
  begin('late');
  lookAt(1200);
  expect(stateOf('late')).toBe('FROZEN');
  // What somebody lets go on by hand is not fought over.
  writeFileSync(join(group('late'), 'freezer.state'), 'THAWED');
  lookAt(1400);
  expect(stateOf('late')).toBe('THAWED');
  await beat(9000);
  lookAt(1600);
  expect(['own', 'db', 'late'].map(stateOf)).toEqual(['THAWED', 'THAWED', 'THAWED']);
});

it('one group that goes away in between, or refuses, keeps none of the others from standing still, and all go on again', async () => {
  for (const name of ['own', 'late']) begin(name);
  // A folder in the file's place: writing there is refused, as by a kernel that will not.
  mkdirSync(join(group('db'), 'freezer.state'), { recursive: true });
  await beat(1000);
  lookAt(1001);
  expect([stateOf('own'), stateOf('late')]).toEqual(['FROZEN', 'FROZEN']);
  rmSync(group('db'), { recursive: true });
  await beat(9000);
  lookAt(1200);
  expect([stateOf('own'), stateOf('late')]).toEqual(['THAWED', 'THAWED']);

  const gone: string[] = [];
  const seen = inEach([group('own'), group('late')], (path) => {
    if (gone.length === 0) rmSync(path, { recursive: true });
    gone.push(path);
    if (!existsSync(path)) throw new Error('no such file');
  });
  expect(seen).toEqual({ done: [group('late')], refused: [] });
  expect(() => inEach([group('own')], () => undefined)).toThrow(/is gone/);
});
