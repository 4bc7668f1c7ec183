import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** btrfs's first super block, which says which trees count: while it stays the same, nothing that it leads to is written over. */
function superBlock(path: string): Buffer {
  const block = Buffer.alloc(4096);
  const file = openSync(path, 'r');
  readSync(file, block, 0, block.length, 64 << 10);
  closeSync(file);
  return block;
}

/**
 * What a power cut would leave: the mounted image, read while it is mounted. A copy takes time and a power cut does not, so a
 * copy during which the file system wrote a new super block is no power cut, and is made again.
 */
export async function copyAsCut(from: string, to: string): Promise<void> {
  for (let tries = 0; tries < 40; tries++) {
    const before = superBlock(from);
    execFileSync('cp', ['--reflink=never', '--sparse=always', from, to]);
    if (superBlock(from).equals(before)) return;
    rmSync(to);
    await sleep(50);
  }
  throw new Error(`${from} was written to all the time; somebody who should stand still does not`);
}

const quiet = { stdio: ['ignore', 'ignore', 'pipe'] as ('ignore' | 'pipe')[] };

async function mounted<T>(image: string, mount: string, use: () => Promise<T> | T): Promise<T> {
  const device = execFileSync('losetup', ['--nooverlap', '--show', '--find', image], { encoding: 'utf8' }).trim();
  try {
    execFileSync('mount', ['-o', 'noatime,nodiscard,subvolid=5', '-t', 'btrfs', device, mount], quiet);
    try {
      return await use();
    } finally {
      execFileSync('umount', [mount]);
    }
  } finally {
    execFileSync('losetup', ['--detach', device]);
    await gone(image);
  }
}

/**
 * While somebody else looks at the device, losetup only promises to detach it. What is attached next would be that device again,
 * with the super block that it still remembers over the trees that btrfstune has written meanwhile: "bad fsid", and nothing to read
 * (findings/losetup-gives-back-a-device-that-it-promised-to-detach.sh).
 */
async function gone(image: string): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (execFileSync('losetup', ['--associated', image], { encoding: 'utf8' }).trim() === '') return;
    await sleep(50);
  }
  throw new Error(`${image} is still attached 10 s after it was detached`);
}

/**
 * Mounts a copy elsewhere, with an identity of its own; `use` gets the folder. Always unmounts. It is mounted once before it
 * gets its identity: btrfstune leaves the log of fsyncs as it is, and what has one can then never be mounted again
 * (findings/btrfs-new-identity-loses-the-log.sh).
 */
export async function withCopy<T>(image: string, folder: string, use: (mount: string) => Promise<T>): Promise<T> {
  const mount = join(folder, 'mount');
  mkdirSync(mount, { recursive: true });
  await mounted(image, mount, () => undefined);
  execFileSync('btrfstune', ['-f', '-u', image], quiet);
  return mounted(image, mount, () => use(mount));
}
