import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { spawnClean } from '../clean-spawn.ts';
import { clockEnvironment } from '../clock.ts';
import { unifiedMount } from '../executors/run-cgroup.ts';
import { isDiskError } from '../store/disk-errors.ts';

/*
 * The small programs beside the agent, which outlive it: the watchdog, a hosted GitLab's gate, and what forwards to it. Each is a hidden command
 * of the program that the agent is, and has a pid file and a log of its own.
 */

/** A log longer than that is begun anew. */
const sideLogBytes = 1 << 20;

interface SidePlan {
  /** The program that has the hidden command; by default this process's own. */
  bin?: string | undefined;
  words: readonly string[];
  log: string;
  /** MiB of Node's young generation: these programs are small. */
  youngMiB: number;
  onError?: () => void;
}

export const ownProgram = (): string => process.argv[1] ?? '';

/** Whether this program has hidden commands: our agent's, not a test's or a stranger's that loads our code. */
export const hasSidePrograms = (bin: string): boolean =>
  /^(autogit-node|agent)(\.[cm]?js)?$/.test(basename(bin)) && existsSync(bin);

export function startSideProgram({ bin = ownProgram(), words, log, youngMiB, onError }: SidePlan): void {
  const said = openLog(log);
  try {
    const child = spawnClean(process.execPath, [`--max-semi-space-size=${youngMiB}`, bin, ...words], {
      cwd: '/',
      detached: true,
      stdio: ['ignore', said, said],
      env: { PATH: process.env.PATH, HOME: process.env.HOME, ...clockEnvironment() },
    });
    child.on('error', () => onError?.());
    child.unref();
  } finally {
    if (said !== 'ignore') closeSync(said);
  }
}

/** A full disk must not keep it from being started. */
function openLog(path: string): number | 'ignore' {
  try {
    const isLong = existsSync(path) && statSync(path).size > sideLogBytes;
    return openSync(path, isLong ? 'w' : 'a', 0o600);
  } catch (error) {
    if (!isDiskError(error)) throw error;
    return 'ignore';
  }
}

/** From then on it is that user, in no other group, for good. */
export function becomeUser(uid: number): void {
  process.setgroups?.([]);
  process.setgid?.(uid);
  process.setuid?.(uid);
}

/** Standard output is the log, which a user of its own could not open again. A full disk stops nothing. */
export function sayInLog(name: string, clock: { wallMs(): number }, sentence: string): void {
  try {
    if (fstatSync(1).size > sideLogBytes) ftruncateSync(1);
    writeSync(1, `${new Date(clock.wallMs()).toISOString()} ${name} ${process.pid}: ${sentence}\n`);
  } catch {
    // A pipe that nobody reads, or no room.
  }
}

/** Out of the agent's control group where we may, so that what ends the agent's unit does not end this program. */
export function leaveUnit(name: string): void {
  const mount = unifiedMount();
  if (process.getuid?.() !== 0 || mount === null) return;
  try {
    const path = join(mount, 'autogit', name);
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, 'cgroup.procs'), String(process.pid));
  } catch {
    // A read-only hierarchy: the unit's KillMode=process spares it then.
  }
}
