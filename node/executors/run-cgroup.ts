import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readKernelFile } from '../machine/kernel-file.ts';
import { signalAll } from './run-processes.ts';

/**
 * Control groups by their files (SAFETY H3, J1): version 2 by cgroup.freeze, version 1 by freezer.state. Both are met in
 * the field. All calls are synchronous and short, so that the watchdog can use them with nothing else working.
 */

const mounts = (): { type: string; path: string; options: string }[] =>
  readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter((fields) => fields.length >= 4)
    .map((fields) => ({ path: fields[1] as string, type: fields[2] as string, options: fields[3] as string }));

export const unifiedMount = (): string | null => mounts().find((mount) => mount.type === 'cgroup2')?.path ?? null;

/** Where version 1 has this controller; null where the kernel has it in version 2, or not at all. */
export const legacyMount = (controller: string): string | null =>
  mounts().find((mount) => mount.type === 'cgroup' && mount.options.split(',').includes(controller))?.path ?? null;

/** The paths of a process in the hierarchies that can freeze: version 2 first. Null where it has none of its own. */
export function freezerOfProcess(pid: number): string | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
  } catch {
    return null;
  }
  const found: string[] = [];
  for (const line of text.split('\n')) {
    const [hierarchy, controllers, ...rest] = line.split(':');
    const path = rest.join(':');
    if (path === '' || path === '/') continue;
    const mount =
      hierarchy === '0' ? unifiedMount() : controllers?.split(',').includes('freezer') ? legacyMount('freezer') : null;
    if (mount !== null) found.push(join(mount, path));
  }
  return (
    found.find((path) => existsSync(join(path, 'cgroup.freeze'))) ??
    found.find((path) => existsSync(join(path, 'freezer.state'))) ??
    null
  );
}

/** A container's group, by a process of it; null where that pid is of another machine than its engine's. */
export function groupOfContainer(id: string, pid: number): string | null {
  const path = pid > 0 ? freezerOfProcess(pid) : null;
  return path?.includes(id) ? path : null;
}

/**
 * A control group for one run, below the root's (as root: it outlives the agent's own unit) or below the agent's own
 * where that is delegated. Version 2, else a freezer group of version 1. Null when the machine does not let us: then
 * signals do it.
 */
export function makeRunCgroup(run: string): string | null {
  return makeUnifiedGroup(run) ?? makeFreezerGroup(run);
}

function makeUnifiedGroup(run: string): string | null {
  const mount = unifiedMount();
  if (mount === null) return null;
  try {
    let base = join(mount, 'autogit');
    if (process.getuid?.() !== 0) {
      const own = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1];
      if (own === undefined) return null;
      base = join(mount, own);
    }
    return makeWith(join(base, `autogit-${run}`), 'cgroup.freeze');
  } catch {
    return null;
  }
}

/** Version 1 lets only root make groups. */
export function makeFreezerGroup(run: string): string | null {
  try {
    const mount = legacyMount('freezer');
    return mount === null ? null : makeWith(join(mount, 'autogit', `autogit-${run}`), 'freezer.state');
  } catch {
    return null;
  }
}

/** With the group of all runs above it; a job may read what its own limits are, as runtimes do, whatever our umask. */
export function makeGroup(path: string): void {
  mkdirSync(path, { recursive: true });
  for (const place of basename(dirname(path)) === 'autogit' ? [dirname(path), path] : [path]) chmodSync(place, 0o755);
}

function makeWith(path: string, file: string): string | null {
  makeGroup(path);
  if (existsSync(join(path, file))) return path;
  rmdirSync(path);
  return null;
}

/**
 * Ends all of a group but `spared`, however fast it forks: what is frozen makes no more processes. Again and again until
 * nothing is left, at most 5 s; the last look has the kernel end the spared too, where it can. Never throws.
 */
export async function killCgroup(path: string, spared: ReadonlySet<number> = new Set()): Promise<void> {
  const left = (): { pid: number }[] => cgroupProcesses(path).filter(({ pid }) => !spared.has(pid));
  for (const until = performance.now() + 5000; left().length > 0 && performance.now() < until; await sleep(20))
    try {
      if (spared.size === 0 && existsSync(join(path, 'cgroup.kill'))) writeFileSync(join(path, 'cgroup.kill'), '1');
      else {
        freezeCgroup(path);
        await waitFrozen(path, 500);
        signalAll(left(), 'SIGKILL');
      }
      thawCgroup(path);
    } catch {
      // Gone, or not ours: the marks of the run's processes are looked for next.
      return;
    }
  try {
    if (left().length > 0) writeFileSync(join(path, 'cgroup.kill'), '1');
  } catch {
    // Version 1 has no such file, or the group is gone.
  }
}

export function cgroupProcesses(path: string): { pid: number }[] {
  const pids: { pid: number }[] = [];
  try {
    for (const line of readKernelFile(join(path, 'cgroup.procs')).split('\n'))
      if (line !== '' && line !== '0') pids.push({ pid: Number(line) });
    for (const entry of readdirSync(path, { withFileTypes: true }))
      if (entry.isDirectory()) pids.push(...cgroupProcesses(join(path, entry.name)));
  } catch {
    // Gone.
  }
  return pids;
}

/** Asks for it; the kernel answers within milliseconds. Throws when the group is gone or not ours. */
export function freezeCgroup(path: string): void {
  if (existsSync(join(path, 'cgroup.freeze'))) writeFileSync(join(path, 'cgroup.freeze'), '1');
  else writeFileSync(join(path, 'freezer.state'), 'FROZEN');
}

export function thawCgroup(path: string): void {
  if (existsSync(join(path, 'cgroup.freeze'))) writeFileSync(join(path, 'cgroup.freeze'), '0');
  else writeFileSync(join(path, 'freezer.state'), 'THAWED');
}

export function isCgroupFrozen(path: string): boolean {
  try {
    if (existsSync(join(path, 'cgroup.events'))) return /^frozen 1$/m.test(readKernelFile(join(path, 'cgroup.events')));
    return readKernelFile(join(path, 'freezer.state')).trim() === 'FROZEN';
  } catch {
    return false;
  }
}

/** Never throws: a group that goes away in between needs no thaw. */
export function thawIfFrozen(path: string | null): void {
  try {
    if (path !== null && isCgroupFrozen(path)) thawCgroup(path);
  } catch {
    // Gone.
  }
}

export async function waitFrozen(path: string, limitMs: number): Promise<boolean> {
  for (const until = performance.now() + limitMs; performance.now() < until; await sleep(5))
    if (isCgroupFrozen(path)) return true;
  return isCgroupFrozen(path);
}

/** Removes a group whose processes are ended, folders that a job made below it included. Never throws. */
export async function removeCgroup(path: string): Promise<void> {
  try {
    for (const entry of readdirSync(path, { withFileTypes: true }))
      if (entry.isDirectory()) await removeCgroup(join(path, entry.name));
  } catch {
    return;
  }
  // A process that has just been killed keeps its group busy for a moment; one that cannot be killed, for ever.
  for (let tries = 0; tries < 50; tries++) {
    try {
      rmdirSync(path);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EBUSY') return;
      await sleep(20);
    }
  }
}
