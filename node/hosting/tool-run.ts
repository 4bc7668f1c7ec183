import { readFileSync, realpathSync } from 'node:fs';
import { basename, isAbsolute } from 'node:path';
import { AutogitError } from '../../protocol/errors.ts';
import { execClean } from '../clean-spawn.ts';
import { shown } from '../foreign-text.ts';
import { mountOver } from './mount-table.ts';
import { existingAt } from './place-tree.ts';

interface Patience {
  /** Neither the program nor the disk that it works at has moved for so long: it hangs. */
  stillMs: number;
  /** However much moves: others write to that disk too. */
  longestMs: number;
  lookMs: number;
}

const minute = 60_000;
const usual: Patience = { stillMs: 2 * minute, longestMs: 15 * minute, lookMs: 5_000 };
/** Data of hundreds of gigabytes, millions of files, on a disk that turns. */
const ofData: Patience = { ...usual, longestMs: 12 * 60 * minute };
const programsOfData = new Set(['sync', 'find', 'du', 'rm', 'fallocate', 'umount', 'mount']);
const ofBtrfs = new Set([
  'subvolume snapshot',
  'subvolume delete',
  'subvolume sync',
  'filesystem sync',
  'filesystem resize',
]);

/** What waits until a disk has taken what was written, or looks at each file, takes as long as there is of that. */
export function patienceOf(file: string, args: readonly string[]): Patience {
  const isOfData = programsOfData.has(file) || (file === 'btrfs' && ofBtrfs.has(args.slice(0, 2).join(' ')));
  return isOfData ? ofData : usual;
}

/** What it has computed, read and written so far, and what its disk has: as long as that changes it goes on. */
export function progressOf(pid: number | undefined, path: string | undefined): string {
  const own = pid === undefined ? '' : `${timesIn(textOf(`/proc/${pid}/stat`))} ${textOf(`/proc/${pid}/io`)}`;
  return `${own} ${path === undefined ? '' : diskAt(path)}`;
}

/** utime and stime, behind the name of the program, which may have anything in it. */
const timesIn = (stat: string): string =>
  stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13)
    .join(' ');

/** Of the disk below: what a sync waits for is written by the kernel, and is no figure of the program's. */
function diskAt(path: string): string {
  try {
    const source = mountOver(realpathSync(existingAt(path)))?.source ?? '';
    return source.startsWith('/dev/') ? textOf(`/sys/class/block/${basename(realpathSync(source))}/stat`) : '';
  } catch {
    return '';
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}

const killMs = 5_000;

/**
 * Its stdout. Given up, by SIGTERM and then SIGKILL, when it hangs; who waits for it does not wait for its end, which may never
 * come where a disk holds it. Throws `data-place` then, else what it said.
 */
export function runTool(
  file: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  { stillMs, longestMs, lookMs } = patienceOf(file, args),
): Promise<string> {
  const path = args.findLast((one) => isAbsolute(one));
  return new Promise((resolve, reject) => {
    const child = execClean(file, args, { env, maxBuffer: 4 << 20 }, (error, stdout) => {
      clearInterval(timer);
      if (error) reject(error);
      else resolve(stdout);
    });
    const began = performance.now();
    // By looks, not by a clock: an agent that stood still itself has not seen it do nothing.
    let [still, progress] = [0, ''];
    const giveUp = (how: string): void => {
      clearInterval(timer);
      child.kill('SIGTERM');
      setTimeout(() => child.kill('SIGKILL'), killMs).unref();
      const hint =
        path === undefined
          ? 'look at the disk: dmesg | tail'
          : `its disk may hang: findmnt -T ${shown(path)}; dmesg | tail`;
      reject(new AutogitError('data-place', `${file} ${shown(args[0] ?? '')} was given up: ${how}`, { hint }));
    };
    const timer = setInterval(() => {
      const at = progressOf(child.pid, path);
      [still, progress] = [at === progress ? still + lookMs : 0, at];
      if (still >= stillMs) giveUp(`it and its disk have done nothing for ${Math.round(still / 1000)} s`);
      else if (performance.now() - began >= longestMs)
        giveUp(`it did not end within ${Math.round(longestMs / minute)} min`);
    }, lookMs);
  });
}
