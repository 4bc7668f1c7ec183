import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statfsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { spawnClean } from '../clean-spawn.ts';
import { diskOf } from '../disk-use.ts';
import { showBytes } from '../settings/quantities.ts';
import { HostMounts } from './host-mounts.ts';
import { type ImageHeader, readHeader } from './image-header.ts';
import { holdersOf, sayHolder } from './mount-table.ts';
import { placeProblem } from './place-problem.ts';
import { type SystemTools, toolEnv } from './system-tools.ts';

/**
 * flushoncommit: without it a snapshot may hold files that were renamed to their names a moment ago and have no bytes yet,
 * such as git's refs (findings/btrfs-snapshot-holds-empty-renamed-files.sh).
 */
const mountOptions = 'nodiscard,noatime,flushoncommit,subvolid=5';

/** Of one mount, and not of the file system: with them no program runs from where copies lie. */
const guarded = 'nosuid,nodev,noexec';

/** Of room that was reckoned to a part of a byte fallocate takes none, and a loop device leaves out what fills no sector. */
const wholeMiB = (bytes: number): number => Math.ceil(bytes / 2 ** 20) * 2 ** 20;

/**
 * A file with btrfs in it. Every block of it is the file system's before it is used: under a sparse one a full disk below
 * loses data that every sync called safe.
 */
export class LoopImage {
  readonly path: string;
  readonly #tools: SystemTools;
  readonly #mounts: HostMounts;
  #device: string | null = null;
  #fsid: string | null = null;
  #point: string | null = null;
  #lock: ChildProcess | null = null;

  constructor(path: string, tools: SystemTools, mounts = new HostMounts(tools)) {
    this.path = path;
    this.#tools = tools;
    this.#mounts = mounts;
  }

  /** Under another name until it is whole: half an image is taken for none. */
  static async create(path: string, bytes: number, tools: SystemTools): Promise<LoopImage> {
    const draft = `${path}.new`;
    rmSync(draft, { force: true });
    try {
      await tools.run('fallocate', ['--length', String(wholeMiB(bytes)), draft]);
      chmodSync(draft, 0o600);
      // -K: mkfs discards all of a device otherwise, and the file would be sparse again.
      await tools.run('mkfs.btrfs', ['-q', '-K', draft]);
      await tools.run('sync', [draft]);
      await tools.rename(draft, path);
      await tools.syncFolder(dirname(path));
    } catch (error) {
      rmSync(draft, { force: true });
      throw placeProblem(
        `no image of ${showBytes(bytes)} can be made in ${dirname(path)}: ${sentenceOf(error)}`,
        `make room there, or choose a folder on another disk (--data DIR): df -h ${dirname(path)}`,
        error,
      );
    }
    return new LoopImage(path, tools);
  }

  get device(): string | null {
    return this.#device;
  }

  get fsid(): string | null {
    return this.#fsid;
  }

  get bytes(): number {
    return statSync(this.path).size;
  }

  /** Bytes that a full disk below would take from us. */
  get missing(): number {
    const { size, blocks } = statSync(this.path);
    return Math.max(0, size - blocks * 512);
  }

  /** An fstrim undoes the allocation, mounted or not: asked each round. Throws when the disk below has no room. */
  async allocate(): Promise<void> {
    if (this.missing === 0) return;
    try {
      await this.#tools.run('fallocate', ['--length', String(this.bytes), this.path]);
    } catch (error) {
      throw placeProblem(
        `${showBytes(this.missing)} of ${this.path} have no room on the disk below it`,
        `make room there, then try again: df -h ${dirname(this.path)}`,
        error,
      );
    }
  }

  /** While it is mounted. Refused where the disk below would have less than `reserveBytes` left for its owner. */
  async grow(bytes: number, reserveBytes: number): Promise<void> {
    const { freeBytes } = diskOf(statfsSync(dirname(this.path)));
    if (freeBytes - bytes < reserveBytes)
      throw placeProblem(
        `${this.path} cannot grow by ${showBytes(bytes)}: ${showBytes(freeBytes)} are free below it, of which ${showBytes(reserveBytes)} stay for the machine's owner`,
        `make room there: df -h ${dirname(this.path)}`,
      );
    await this.#tools.run('fallocate', ['--length', String(wholeMiB(this.bytes + bytes)), this.path]);
    await this.#takeWholeFile();
  }

  /** Mounts it, or takes over the mount that an agent before this one left. `expected`: the file system that it must be. */
  async attach(point: string, role: 'host' | 'standby', expected: string | null = null): Promise<void> {
    const header = this.#look(expected);
    await this.allocate();
    await this.#takeLock();
    try {
      // --nooverlap gives back the device that has it already: attached twice it would be two file systems on the same bytes.
      const device = (await this.#tools.run('losetup', ['--nooverlap', '--show', '--find', this.path])).trim();
      this.#device = device;
      mkdirSync(point, { recursive: true });
      await this.#mount(device, point, role, header);
      this.#point = point;
      this.#fsid = fsidOf(device);
      if (this.#fsid === null || readFileSync(`/sys/fs/btrfs/${this.#fsid}/temp_fsid`, 'utf8').trim() !== '0')
        throw placeProblem(
          `a copy of ${this.path} is mounted on this machine already`,
          'unmount the copy, which is found by: findmnt -t btrfs',
        );
      // An agent ended between the two steps of growing.
      if (this.bytes > header.totalBytes) await this.#takeWholeFile();
    } catch (error) {
      await this.detach().catch(() => {});
      throw error;
    }
  }

  /** Of the mount at its point, from now on; a container that has a folder of it keeps what was so when it began. */
  async mayRunPrograms(may: boolean): Promise<void> {
    if (this.#point !== null) await this.#mounts.remount(this.#point, may ? 'suid,dev,exec' : guarded);
  }

  /** What an agent before this one left attached is ours to detach; false when nothing is. */
  async found(point: string): Promise<boolean> {
    const said = await this.#tools.run('losetup', ['--associated', this.path, '--noheadings', '--output', 'NAME']);
    const [device] = said.split('\n').map((line) => line.trim());
    if (!device) return false;
    await this.#takeLock();
    this.#device = device;
    this.#point = point;
    this.#fsid = fsidOf(device);
    return true;
  }

  /** Unmounted is not what umount says (it says 0 while another namespace holds the mount), but what the kernel shows. */
  async detach(): Promise<void> {
    const [device, fsid, point] = [this.#device, this.#fsid, this.#point];
    try {
      const user = device === null ? undefined : holdersOf(device).find(({ mount }) => mount.point !== point);
      if (point !== null && user) throw this.#stillHeld(device as string);
      if (point !== null && this.#mounts.at(point)) await this.#mounts.unmount(point);
      if (device === null) return;
      await this.#tools.run('losetup', ['--detach', device]).catch(() => '');
      for (let tries = 0; ; tries++) {
        const isMounted = fsid !== null && existsSync(`/sys/fs/btrfs/${fsid}`);
        if (!isMounted && (await this.#tools.run('losetup', ['--associated', this.path])) === '') break;
        if (tries === 50) throw this.#stillHeld(device);
        await sleep(100);
      }
      this.#device = null;
      this.#fsid = null;
      this.#point = null;
    } finally {
      await this.letGo();
    }
  }

  /** It stays mounted; another agent may have it. */
  async letGo(): Promise<void> {
    const lock = this.#lock;
    this.#lock = null;
    if (!lock || lock.exitCode !== null) return;
    const gone = once(lock, 'close');
    // It keeps nobody alive until it is waited for.
    lock.ref();
    lock.stdin?.end();
    await gone;
  }

  async #takeWholeFile(): Promise<void> {
    await this.#tools.run('losetup', ['--set-capacity', this.#device as string]);
    await this.#tools.run('btrfs', ['filesystem', 'resize', 'max', this.#point as string]);
  }

  /** What the file itself shows, before anything is done to it. */
  #look(expected: string | null): ImageHeader {
    if (!existsSync(this.path))
      throw placeProblem(
        `${this.path} is gone`,
        `bring the file back, or see whether the disk that it lay on is mounted: findmnt -T ${dirname(this.path)}`,
      );
    const header = readHeader(this.path);
    if (!header)
      throw placeProblem(
        `${this.path} is damaged: it does not begin as a btrfs`,
        `copy it first, then look whether btrfs' own second beginning helps: btrfs rescue super-recover -v ${this.path}`,
      );
    if (expected !== null && header.fsid !== expected)
      throw placeProblem(
        `${this.path} is another image than the one that was made here`,
        `bring back the one whose UUID is ${expected}: btrfs filesystem show ${this.path}`,
      );
    const { bytes } = this;
    if (bytes < header.totalBytes)
      throw placeProblem(
        `${this.path} was cut off: ${bytes} of its ${header.totalBytes} bytes are there`,
        `bring back a whole copy; what is left of this one is read after: truncate -s ${header.totalBytes} ${this.path} && mount -o ro,loop,rescue=all ${this.path} /mnt`,
      );
    if (bytes > header.totalBytes && this.missing > 0)
      throw placeProblem(
        `${this.path} was made longer by somebody: it has ${bytes} bytes, its file system ${header.totalBytes}`,
        `give it back its length: truncate -s ${header.totalBytes} ${this.path}`,
      );
    return header;
  }

  async #mount(device: string, point: string, role: 'host' | 'standby', { fsid }: ImageHeader): Promise<void> {
    const elsewhere = this.#mounts.of(device).find((one) => one.point !== point);
    if (elsewhere)
      throw placeProblem(
        `${this.path} is mounted at ${elsewhere.point}`,
        `unmount it there: umount ${elsewhere.point}`,
      );
    const there = this.#mounts.at(point);
    if (there && there.source !== device)
      throw placeProblem(`${there.source} is mounted at ${point}`, `unmount it there: umount ${point}`);
    if (there && !there.isReadOnly && there.isNoExec === (role === 'standby')) return;
    this.#point = point;
    // An error of the disk below made it read-only: only what was really unmounted can be written again. Or an agent that ended had
    // it in its other role: no program runs from where copies lie.
    if (there) {
      const user = holdersOf(device).find(({ mount }) => mount.point !== point);
      // What runs there may serve in a moment (beside/), or was left by an agent that ended: only its role is another one.
      if (user && !there.isReadOnly) return this.mayRunPrograms(role === 'host');
      if (user) throw this.#stillHeld(device);
      await this.#mounts.unmount(point);
    }
    const more = role === 'standby' ? `,${guarded}` : '';
    try {
      await this.#mounts.mount({ image: this.path, device, point, options: `${mountOptions}${more}` });
    } catch (error) {
      if (error instanceof AutogitError) throw error;
      // mount calls that a bad super block.
      if (existsSync(`/sys/fs/btrfs/${fsid}`)) throw this.#stillHeld(device);
      throw placeProblem(
        `${this.path} cannot be mounted: ${sentenceOf(error)}`,
        `look at what the kernel says (dmesg | tail), then at the image: btrfs check --readonly ${this.path}`,
        error,
      );
    }
  }

  #stillHeld(device: string): AutogitError {
    const holders = holdersOf(device);
    const first = holders.find(({ mount }) => mount.point !== this.#point) ?? holders[0];
    const who = first ? sayHolder(first) : 'something';
    return placeProblem(`${this.path} is still held by ${who}`, 'end it, then try again');
  }

  /** One agent for an image, for as long as it lives: the lock's holder ends with it. */
  async #takeLock(): Promise<void> {
    if (this.#lock !== null) return;
    const holder = spawnClean('flock', ['--timeout', '2', this.path, 'sh', '-c', 'echo held; exec cat >/dev/null'], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: toolEnv,
    });
    const [first] = await Promise.race([once(holder.stdout!, 'data'), once(holder, 'close')]);
    if (String(first).trim() !== 'held')
      throw placeProblem(`another agent has ${this.path} open`, `end it first: fuser -v ${this.path}`);
    holder.stdin?.on('error', () => {});
    holder.unref();
    this.#lock = holder;
  }
}

/** By the device, never by a UUID that another file system may have too. */
function fsidOf(device: string): string | null {
  const name = device.replace(/^\/dev\//, '');
  if (!existsSync('/sys/fs/btrfs')) return null;
  for (const fsid of readdirSync('/sys/fs/btrfs')) if (existsSync(`/sys/fs/btrfs/${fsid}/devices/${name}`)) return fsid;
  return null;
}
