import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { roundText } from '../../protocol/round-name.ts';
import {
  cable,
  copied,
  data,
  desktop,
  desktopAgain,
  desktopHome,
  folder,
  inSync,
  kang,
  kangAgain,
  mesh,
  onOneDisk,
  onOwnersBtrfs,
  place,
  push,
  tree,
  until,
} from './copies-rig.ts';

/** SAFETY H10, on two machines of this one. */
it('brings rounds over, takes the other machine into the committed set, and a push waits for it from then on', {
  timeout: 90_000,
}, async () => {
  await onOneDisk();
  await until('a first round is there', () => desktop.standby?.newest != null);
  expect(copied('row')).toBe('first');
  expect(mesh.copies).toMatchObject({ set: { members: [], boot: expect.any(String) }, bases: { 1: { epoch: 1 } } });
  expect(await push()).toEqual({ isAlone: true });
  expect(kang.room.pushes.aloneWords()).toContain('this push is on one machine only, kang: desktop-1: ');

  await inSync();
  writeFileSync(join(place.folders.data, 'row'), 'pushed');
  writeFileSync(join(place.folders.bulk, 'artifact'), 'large');
  expect(await push()).toEqual({ isAlone: false });
  expect(copied('row')).toBe('pushed');
  const { copies } = kang.room.seen();
  expect(copies).toMatchObject({ arePushesSafe: true, problem: null, standbys: [{ node: 'B', state: 'in-sync' }] });
  const bulk = join(tree(), 'copies/bulk/rounds');
  const isThere = (): boolean => readdirSync(bulk).some((round) => existsSync(join(bulk, round, 'bulk/artifact')));
  await until('what no push waits for is over there too', isThere);
  await until('all else is safe', () => (kang.room.seen().copies?.safeUntil ?? 0) > Date.now() - 6000);
});

it('a standby that is gone leaves the set, by a commit, before a push is answered without it; back, it goes on from the last common round', {
  timeout: 90_000,
}, async () => {
  await onOwnersBtrfs();
  await inSync();
  await desktop.room.stop();
  mesh.machines.delete('B');
  const began = performance.now();
  expect(await push()).toEqual({ isAlone: true });
  expect(performance.now() - began).toBeGreaterThan(1500);
  expect(mesh.copies.set).toMatchObject({ members: [], last: ['B'] });
  expect(kang.room.pushes.aloneWords()).toMatch(/this push is on one machine only, kang: desktop-1: /);

  writeFileSync(join(place.folders.data, 'row'), 'while it was away');
  desktopAgain();
  await until('it has caught up', () => desktop.standby?.newest != null && copied('row') === 'while it was away');
  // A person takes it back: what lies there goes.
  mesh.change({ kind: 'agree-copies', data, node: 'B', agreed: false, because: 'said by ann' });
  await until('its copies are gone', () => !existsSync(join(desktopHome, 'gitlab-copies', data)));
});

it("an agent of the host's that starts anew says so in the ledger before it answers a push, and goes on with differences", {
  timeout: 60_000,
}, async () => {
  await onOneDisk();
  await inSync();
  const before = mesh.copies.set;
  await kang.room.stop();
  // What a snapshot ends at is in no round: such data are not called safe.
  const nested = join(place.folders.data, 'nested');
  execFileSync('btrfs', ['subvolume', 'create', nested], { stdio: 'ignore' });
  kangAgain(join(folder, 'kang'));
  writeFileSync(join(place.folders.data, 'row'), 'after the restart');
  await push();
  expect(copied('row')).toBe('after the restart');
  expect(mesh.copies.set).toMatchObject({ members: ['B'], version: before.version + 1 });
  expect(mesh.copies.set.boot).not.toBe(before.boot);
  const marker = `${roundText(desktop.standby!.newest!.round)}.json`;
  expect(JSON.parse(readFileSync(join(tree(), 'copies/hot/markers', marker), 'utf8')).parent).toMatch(/^0-1-\d+$/);
  await until(
    'it is said',
    () => kang.room.seen().copies?.problem?.includes('nested is a subvolume of its own') === true,
  );
  expect(kang.room.seen().copies).toMatchObject({ arePushesSafe: false, safeUntil: null });
  // Whoever pushes then reads it: nobody knows whether this push is in what was copied.
  expect(await push()).toEqual({ isAlone: true });
  expect(kang.room.pushes.aloneWords()).toContain('nested is a subvolume of its own');
});

it('a cable that is out and a clock 15 days ahead lose nothing; the first is said, and over when it is back', {
  timeout: 90_000,
}, async () => {
  await onOwnersBtrfs();
  await inSync();
  const write = (text: string): void => writeFileSync(join(place.folders.data, 'row'), text);
  const caughtUp = (text: string) => until(text, () => desktop.standby?.newest != null && copied('row') === text);

  cable.pull();
  const began = performance.now();
  expect(await push()).toEqual({ isAlone: true });
  expect(performance.now() - began).toBeGreaterThan(1500);
  write('while the cable was out');
  expect(await push()).toEqual({ isAlone: true });
  expect(mesh.copies.set).toMatchObject({ members: [], last: ['B'] });
  cable.plug();
  await caughtUp('while the cable was out');
  await inSync();

  // As the machine's battery had it after a restart.
  const rounds = readdirSync(join(place.folders.data, '../../copies/hot/rounds'));
  await kang.room.stop();
  kangAgain(join(folder, 'disk-kang', 'kang'), 15 * 86_400_000);
  write('15 days ahead');
  expect(await push()).toEqual({ isAlone: false });
  expect(copied('row')).toBe('15 days ahead');
  expect(readdirSync(join(place.folders.data, '../../copies/hot/rounds'))).toEqual(expect.arrayContaining(rounds));
});
