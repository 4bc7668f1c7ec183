import { type ChildProcess, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, expect } from 'vitest';
import type { DataPlace, PlaceWish } from '../../node/hosting/data-place.ts';
import { mountsOf } from '../../node/hosting/mount-table.ts';
import { openPlace } from '../../node/hosting/place-making.ts';
import { type SystemTools, systemTools } from '../../node/hosting/system-tools.ts';
import { install } from '../bench/debian.ts';
import { hostingPrograms } from '../hosting/stand/programs.ts';
import { ended } from '../hosting/stand/writers.ts';

/** Whose data the tests make, and what they look with. */
export const MiB = 1 << 20;
export const create = { bytes: 160 * MiB, reserveBytes: 0 };
export const wish: PlaceWish = { mesh: 'mesh-1', data: 'data-1', epoch: 3, create };
export const later: PlaceWish = { ...wish, create: null };

export const refusal = (message: RegExp, hint: RegExp) => ({
  code: 'data-place',
  message: expect.stringMatching(message),
  hint: expect.stringMatching(hint),
});
export const sh = (text: string): string => execFileSync('sh', ['-c', text], { encoding: 'utf8' });

/** A folder for each test, with the places and processes that it began: all of it is put away after it. */
export class PlaceRig {
  folder = '';
  open: DataPlace[] = [];
  readonly children: ChildProcess[] = [];

  constructor() {
    const programs = { ...hostingPrograms, busybox: 'busybox-static', 'systemd-mount': 'systemd' };
    beforeAll(() => install(programs), 300_000);
    beforeEach(() => {
      this.folder = mkdtempSync(join(tmpdir(), 't-hplace-'));
    });
    afterEach(async () => {
      for (const child of this.children.splice(0)) await ended(child);
      for (const place of this.open.splice(0).reverse()) await place.close().catch(() => {});
      tidy(this.folder);
      expect(mountsOf('self').filter(({ point }) => point.startsWith(this.folder))).toEqual([]);
    });
  }

  image = () => ({ kind: 'image' as const, path: join(this.folder, 'gitlab') });

  opened = async (wanted = this.image(), asked = wish): Promise<DataPlace> => {
    const place = await openPlace(wanted, asked, systemTools);
    this.open.push(place);
    return place;
  };
}

/** Whatever a test did: nothing of ours stays mounted, attached or immutable. */
function tidy(under: string): void {
  for (const { point } of mountsOf('self')
    .filter((one) => one.point.startsWith(under))
    .reverse())
    execFileSync('umount', [point]);
  const attached = execFileSync('losetup', ['--list', '--noheadings', '--output', 'NAME,BACK-FILE'], {
    encoding: 'utf8',
  });
  for (const line of attached.split('\n').filter((one) => one.includes(under)))
    execFileSync('losetup', ['--detach', line.split(/\s+/)[0] as string]);
  sh(`chattr -R -f -i ${under} || true`);
  rmSync(under, { recursive: true, force: true });
}

/** The machine's tools until its power goes, which it does after so many steps. */
export const cutAfter = (steps: number): SystemTools => {
  let left = steps;
  const step =
    <A extends unknown[], R>(act: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      if (left-- <= 0) throw new Error('the power went');
      return act(...args);
    };
  const { run, write, rename, syncFolder } = systemTools;
  return { run: step(run), write: step(write), rename: step(rename), syncFolder: step(syncFolder) };
};
