import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, rmSync, statfsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Lab } from '../lab.ts';
import type { LabMachine } from '../lab-machine.ts';

const GiB = 2 ** 30;

/**
 * Disks of their own, so that one can be filled: kang's with little more than preset `minimal` takes, ext4, so that GitLab's data
 * lie in an image; of the copies one owner has btrfs and the other ext4, so that both kinds of place are met. Others hold none.
 */
const kinds = {
  kang: { bytes: 32 * GiB, format: ['mkfs.ext4', '-q', '-E', 'lazy_itable_init=1'] },
  'desktop-1': { bytes: 6 * GiB, format: ['mkfs.btrfs', '-q'] },
  'desktop-2': { bytes: 6 * GiB, format: ['mkfs.ext4', '-q', '-E', 'lazy_itable_init=1'] },
} as const;

/** Where it is mounted: on kang a disk of the owner's, elsewhere where its agent keeps copies. */
export const diskOf = (machine: LabMachine): string =>
  machine.name === 'kang' ? join(machine.dir, 'disk') : join(machine.agent.home, 'gitlab-copies');

export function mountDisks({ machines }: Lab): void {
  for (const machine of machines) {
    const kind = kinds[machine.name as keyof typeof kinds];
    if (kind === undefined) continue;
    const { bytes, format } = kind;
    const point = diskOf(machine);
    const file = join(machine.dir, 'disk.img');
    mkdirSync(point, { recursive: true, mode: 0o700 });
    chmodSync(dirname(point), 0o700);
    execFileSync('truncate', ['--size', String(bytes), file]);
    const [mkfs, ...args] = format;
    execFileSync(mkfs, [...args, file]);
    mountDisk(machine);
    rmSync(join(point, 'lost+found'), { recursive: true, force: true });
  }
}

/** Also after a power cut, which takes all that was mounted there. Of a machine without a disk of its own nothing is. */
export function mountDisk(machine: LabMachine): void {
  if (existsSync(join(machine.dir, 'disk.img')))
    execFileSync('mount', ['-o', 'loop', join(machine.dir, 'disk.img'), diskOf(machine)]);
}

/** Takes all of a disk but so much, without writing it. */
export function fill(machine: LabMachine, leaveBytes: (total: number) => number): void {
  const { bavail, blocks, bsize } = statfsSync(diskOf(machine));
  const bytes = Math.floor(bavail * bsize - leaveBytes(blocks * bsize));
  if (bytes > 0) execFileSync('fallocate', ['--length', String(bytes), join(diskOf(machine), 'films')]);
}

export function empty(machine: LabMachine): void {
  rmSync(join(diskOf(machine), 'films'), { force: true });
  execFileSync('sync', ['--file-system', diskOf(machine)]);
}
