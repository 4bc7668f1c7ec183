import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { labCgroup, labRoot } from './lab-file.ts';
import { processesOf } from './machine-processes.ts';

/** In the command line of each machine's first process, by which it is found again. */
const mark = 'autogit-lab-init';
/**
 * First it lets go of the disks of other labs, which its own mounts began with: they would be held for as long as it lives. Then it does nothing
 * but bury orphans, as an init must.
 */
const body = `while read -r _ point _; do
  case "$point" in "$1"/*) ;; /var/tmp/autogit-*) umount --lazy "$point" ;; esac
done </proc/self/mounts
while :; do sleep 3600 & wait $!; done`;

const pause = (ms: number): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

const initOf = (namespace: string): number | null =>
  processesOf(namespace).find(({ command }) => command[0] === 'bash' && command.includes(mark))?.pid ?? null;

/**
 * A machine has processes and mounts of its own, not only a network: who is inside sees and ends nothing of the computer
 * or of another machine. Its first process is made when the first program starts, and its death is the end of all.
 */
function init(namespace: string): number {
  const found = initOf(namespace);
  if (found !== null) return found;
  const own = [
    'unshare',
    '--pid',
    '--fork',
    '--mount-proc',
    '--kill-child',
    'bash',
    '--norc',
    '-c',
    body,
    mark,
    labRoot,
  ];
  const cpu = cpuGroup(namespace);
  const enter = cpu === null ? [] : ['sh', '-c', `echo $$ > '${cpu}' && exec "$@"`, 'sh'];
  const [file, ...args] = [...enter, 'nsenter', `--net=/var/run/netns/${namespace}`, ...own] as [string, ...string[]];
  spawn(file, args, { cwd: '/', detached: true, stdio: 'ignore' }).unref();
  for (let tries = 0; tries < 250; tries++) {
    const pid = initOf(namespace);
    if (pid !== null) return pid;
    pause(20);
  }
  throw new Error(`the first process of ${namespace} did not start`);
}

/**
 * Each machine has a CPU share of its own (control groups of version 1: the same weight each), so that a job which
 * takes all it can of one machine does not starve the others. All of them together would weigh as much as one program of this
 * computer, and beside twenty of those no lease was renewed in time: they weigh as eight. Null where the kernel has no such group here.
 */
function cpuGroup(namespace: string): string | null {
  const root = '/sys/fs/cgroup/cpu';
  if (!existsSync(join(root, 'cpu.shares'))) return null;
  const folder = join(root, labCgroup, `share-${namespace}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(root, labCgroup, 'cpu.shares'), '8192');
  writeFileSync(join(folder, 'cpu.shares'), '1024');
  return join(folder, 'cgroup.procs');
}

/** The command line that runs `command` inside a machine, with what only the machine has. */
export function insideOf(namespace: string, command: readonly string[]): [string, ...string[]] {
  const cpu = cpuGroup(namespace);
  const enter = cpu === null ? [] : ['sh', '-c', `echo $$ > '${cpu}' && exec "$@"`, 'sh'];
  const inside = ['nsenter', '--target', String(init(namespace)), '--pid', '--mount', '--net', '--', ...command];
  return [...enter, ...inside] as [string, ...string[]];
}
