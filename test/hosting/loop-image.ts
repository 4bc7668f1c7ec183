import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { spawnClean } from '../../node/clean-spawn.ts';
import { sentenceOf } from '../../protocol/errors.ts';
import { holdersOf, mountsOf } from './mount-table.ts';
import type { ReplicaTools } from './replica-ports.ts';
import { ReplicaProblem } from './replica-problem.ts';

const mib = (bytes: number): string => `${Math.ceil(bytes / (1 << 20))} MiB`;

/**
 * flushoncommit: without it a snapshot may hold files that were renamed to their names a moment ago and have no bytes yet,
 * such as git's refs (findings/btrfs-snapshot-holds-empty-renamed-files.sh).
 */
const mountOptions = 'nodiscard,noatime,flushoncommit,subvolid=5';

/**
 * A file with btrfs in it. Every block of it is the file system's before it is used: under a sparse one a full disk below
 * loses data that every sync called safe.
 */
export class LoopImage {
  readonly path: string;
  readonly #tools: ReplicaTools;
  #device: string | null = null;
  #fsid: string | null = null;
  #point: string | null = null;
  #lock: ChildProcess | null = null;

  constructor(path: string, tools: ReplicaTools) {
    this.path = path;
    this.#tools = tools;
  }

  static async create(path: string, bytes: number, tools: ReplicaTools): Promise<LoopImage> {
    await tools.run('fallocate', ['--length', String(bytes), path]);
    // -K: mkfs discards all of a device otherwise, and the file would be sparse again.
    await tools.run('mkfs.btrfs', ['-q', '-K', path]);
    return new LoopImage(path, tools);
  }

  get device(): string | null {
    return this.#device;
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
      await this.#tools.run('fallocate', ['--length', String(statSync(this.path).size), this.path]);
    } catch (error) {
      throw new ReplicaProblem(
        `${mib(this.missing)} of ${this.path} have no room on the disk below it`,
        `make room there, then try again: df -h ${join(this.path, '..')}`,
        error,
      );
    }
  }

  async attach(point: string, options: 'host' | 'standby'): Promise<void> {
    await this.allocate();
    await this.#takeLock();
    try {
      // --nooverlap gives back the device that has it already: attached twice it would be two file systems on the same bytes.
      const device = (await this.#tools.run('losetup', ['--nooverlap', '--show', '--find', this.path])).trim();
      this.#device = device;
      mkdirSync(point, { recursive: true });
      const more = options === 'standby' ? ',nosuid,nodev,noexec' : '';
      const there = mountsOf('self').find((one) => one.source === device);
      if (there && there.point !== point)
        throw new ReplicaProblem(
          `${this.path} is mounted at ${there.point}`,
          `unmount it there: umount ${there.point}`,
        );
      if (!there) await this.#tools.run('mount', ['-o', `${mountOptions}${more}`, '-t', 'btrfs', device, point]);
      this.#point = point;
      this.#fsid = fsidOf(device);
      if (this.#fsid === null || readFileSync(`/sys/fs/btrfs/${this.#fsid}/temp_fsid`, 'utf8').trim() !== '0')
        throw new ReplicaProblem(
          `a copy of ${this.path} is mounted on this machine already`,
          'unmount the copy: findmnt -t btrfs',
        );
    } catch (error) {
      await this.detach().catch(() => {});
      throw error;
    }
  }

  /** Unmounted is not what umount says (it says 0 while another namespace holds the mount), but what the kernel shows. */
  async detach(): Promise<void> {
    const [device, fsid, point] = [this.#device, this.#fsid, this.#point];
    try {
      if (point !== null && mountsOf('self').some((one) => one.point === point))
        await this.#tools.run('umount', [point]);
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

  #stillHeld(device: string): ReplicaProblem {
    const [first] = holdersOf(device);
    const who = first ? `process ${first.pid} (${first.command}) at ${first.mount.point}` : 'something';
    return new ReplicaProblem(`${this.path} is still held by ${who}`, 'end it, then try again');
  }

  /** One agent for an image, for as long as it lives: the lock's holder ends with it. */
  async #takeLock(): Promise<void> {
    const holder = spawnClean('flock', ['--timeout', '2', this.path, 'sh', '-c', 'echo held; exec cat >/dev/null'], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const [first] = await Promise.race([once(holder.stdout!, 'data'), once(holder, 'close')]);
    if (String(first).trim() !== 'held')
      throw new ReplicaProblem(`another agent has ${this.path} open`, `end it first: fuser -v ${this.path}`);
    holder.stdin?.on('error', () => {});
    holder.unref();
    this.#lock = holder;
  }
}

/** By the device, never by a UUID that another file system may have too. */
function fsidOf(device: string): string | null {
  const name = device.replace(/^\/dev\//, '');
  for (const fsid of readdirSync('/sys/fs/btrfs')) if (existsSync(`/sys/fs/btrfs/${fsid}/devices/${name}`)) return fsid;
  return null;
}

/**
 * Whether that process (an engine, or what it started) sees the very file system that we see at `point`. A service with any
 * hardening has mounts of its own: it would see an empty folder there, and begin a new GitLab over the old one.
 */
export function isSeenBy(pid: number, point: string): boolean {
  try {
    return (
      statSync(`/proc/${pid}/root${point}`).dev === statSync(point).dev &&
      mountsOf(pid).some((one) => one.point === point)
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw new Error(`process ${pid} cannot be looked at: ${sentenceOf(error)}`, { cause: error });
  }
}
