import { readlinkSync } from 'node:fs';
import { AutogitError } from '../../protocol/errors.ts';
import { hasSystemd as isSystemd } from '../machine/as-service.ts';
import { type Mount, mountsOf } from './mount-table.ts';
import type { SystemTools } from './system-tools.ts';

/**
 * How a file system is mounted so that the engine sees it. `unit`: by systemd, as a unit of its own, which is of nobody's
 * private mount namespace and outlives the agent. `enter`: in the machine's first mount namespace, which is not ours.
 */
type MountWay = 'unit' | 'enter' | 'plain';

export function mountWay(facts: { hasSystemd: boolean; own: string | null; first: string | null }): MountWay {
  if (facts.hasSystemd) return 'unit';
  return facts.own !== null && facts.first !== null && facts.own !== facts.first ? 'enter' : 'plain';
}

interface Wanted {
  /** The file with the file system in it, and the device that has it already. */
  image: string;
  device: string;
  point: string;
  options: string;
}

type Command = [file: string, ...args: string[]];

/** `pid`: whose mount namespace is entered. */
export function mountCommand(way: MountWay, { image, device, point, options }: Wanted, pid = 1): Command {
  const plain: Command = ['mount', '-o', options, '-t', 'btrfs', device, point];
  if (way === 'plain') return plain;
  if (way === 'enter') return ['nsenter', `--mount=/proc/${pid}/ns/mnt`, '--', ...plain];
  return [
    'systemd-mount',
    '--no-ask-password',
    // A unit that failed is forgotten, or the next try would be refused for its name.
    '--collect',
    // btrfs has no check that is to run before a mount.
    '--fsck=no',
    '--type=btrfs',
    // By the file, which mount finds attached: for a device systemd waits until udev called it ready, and that may be never.
    `--options=loop,${options}`,
    '--description=Data of the GitLab that autogit-node hosts',
    // At shutdown the engine ends its containers first, then this goes.
    '--property=Before=docker.service',
    image,
    point,
  ];
}

/** Only what that one mount allows is another: nothing that is open is touched. */
function remountCommand(way: MountWay, point: string, allowed: string, pid = 1): Command {
  const plain: Command = ['mount', '-o', `remount,bind,noatime,${allowed}`, point];
  return way === 'plain' ? plain : ['nsenter', `--mount=/proc/${pid}/ns/mnt`, '--', ...plain];
}

export function unmountCommand(way: MountWay, point: string, pid = 1): Command {
  if (way === 'unit') return ['systemd-mount', '--umount', point];
  return way === 'enter' ? ['nsenter', `--mount=/proc/${pid}/ns/mnt`, '--', 'umount', point] : ['umount', point];
}

const namespaceOf = (pid: number | 'self'): string | null => {
  try {
    return readlinkSync(`/proc/${pid}/ns/mnt`);
  } catch {
    return null;
  }
};

/** The mounts of this machine, wherever the agent itself lives. */
export class HostMounts {
  readonly #tools: SystemTools;
  readonly #pid: number;
  readonly #way: MountWay;

  /** `pid`: a process in the machine's first mount namespace. */
  constructor(tools: SystemTools, { pid = 1, hasSystemd = isSystemd() } = {}) {
    this.#tools = tools;
    this.#pid = pid;
    this.#way = mountWay({ hasSystemd, own: namespaceOf('self'), first: namespaceOf(pid) });
  }

  at(point: string): Mount | undefined {
    return this.#all().findLast((one) => one.point === point);
  }

  of(source: string): Mount[] {
    return this.#all().filter((one) => one.source === source);
  }

  /** Returns when the machine and the agent both see it. */
  async mount(wanted: Wanted): Promise<void> {
    const [file, ...args] = mountCommand(this.#way, wanted, this.#pid);
    await this.#tools.run(file, args);
    const { device, point } = wanted;
    const isHere = (mounts: readonly Mount[]): boolean =>
      mounts.some((one) => one.point === point && one.source === device);
    if (isHere(this.#all()) && isHere(mountsOf('self'))) return;
    await this.unmount(point).catch(() => {});
    throw new AutogitError('data-place', `the agent has mounts of its own, and ${point} is not among those of both`, {
      hint: 'its service must have no private mounts (PrivateTmp, ProtectSystem, …): systemctl cat autogit-node',
    });
  }

  /** `allowed`: `suid,dev,exec`, or the contrary of each. */
  async remount(point: string, allowed: string): Promise<void> {
    const [file, ...args] = remountCommand(this.#way, point, allowed, this.#pid);
    await this.#tools.run(file, args);
  }

  async unmount(point: string): Promise<void> {
    const [file, ...args] = unmountCommand(this.#way, point, this.#pid);
    await this.#tools.run(file, args);
  }

  /** What may not be looked at (a container without the machine's processes) is taken to be ours. */
  #all(): Mount[] {
    const all = mountsOf(this.#pid);
    return all.length > 0 ? all : mountsOf('self');
  }
}
