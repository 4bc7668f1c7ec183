import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * The processes of a run on this machine, found by the marker AUTOGIT_RUN=<run> in their environment, and with them all
 * of a session in which one has it: so also those that left their group or cleared their environment (not both).
 */
export const runMarker = 'AUTOGIT_RUN';

interface ProcessStat {
  pid: number;
  state: string;
  session: number;
  /** Clock ticks since boot: with the pid it names a process for ever, so a recycled pid is never taken for it. */
  startTicks: string;
}

const parseStat = (pid: number): ProcessStat | null => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The program's name may hold anything, parentheses too: fields count from the last one.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { pid, state: fields[0] ?? '?', session: Number(fields[3]), startTicks: fields[19] ?? '' };
  } catch {
    return null;
  }
};

const hasMarker = (pid: number, markers: ReadonlySet<string>): boolean => {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1')
      .split('\0')
      .some((entry) => markers.has(entry));
  } catch {
    return false;
  }
};

/** True while exactly this process runs; a zombie does not. */
export function isAlive(pid: number, startTicks: string): boolean {
  const stat = parseStat(pid);
  return stat !== null && stat.startTicks === startTicks && stat.state !== 'Z' && stat.state !== 'X';
}

/** Living processes that carry the entry NAME=VALUE, and those who share a session with one. Never this process. */
export function processesWith(entry: string): ProcessStat[] {
  const markers = new Set([entry]);
  const all: ProcessStat[] = [];
  for (const folder of readdirSync('/proc')) {
    if (!/^\d+$/.test(folder)) continue;
    const stat = parseStat(Number(folder));
    if (stat && stat.state !== 'Z' && stat.state !== 'X') all.push(stat);
  }
  const own = all.find((stat) => stat.pid === process.pid)?.session;
  const marked = new Set(all.filter((stat) => hasMarker(stat.pid, markers)).map((stat) => stat.pid));
  const sessions = new Set(all.filter((stat) => marked.has(stat.pid)).map((stat) => stat.session));
  if (own !== undefined) sessions.delete(own);
  return all.filter(
    (stat) => stat.pid > 1 && stat.pid !== process.pid && (marked.has(stat.pid) || sessions.has(stat.session)),
  );
}

export const processesOfRun = (run: string): ProcessStat[] => processesWith(`${runMarker}=${run}`);

const signal = (pid: number, name: NodeJS.Signals): void => {
  try {
    process.kill(pid, name);
  } catch {
    // It ended in between, or is another user's (then nothing of ours can end it).
  }
};

/** Sends a signal to what `list` finds now. Returns how many there were. */
export function signalAll(list: () => { pid: number }[], name: NodeJS.Signals): number {
  const found = list();
  for (const { pid } of found) signal(pid, name);
  return found.length;
}

/** SIGSTOP until nothing of the run still moves: what is forked between two looks is found by the next. */
export function stopRun(run: string): void {
  for (let look = 0; look < 20; look++) {
    const moving = processesOfRun(run).filter((stat) => stat.state !== 'T' && stat.state !== 't');
    if (moving.length === 0) return;
    for (const { pid } of moving) signal(pid, 'SIGSTOP');
  }
}

export function continueRun(run: string): void {
  signalAll(() => processesOfRun(run), 'SIGCONT');
}

/** SIGTERM to what `list` finds. True when something of it is still there after graceMs. */
export async function askToEnd(list: () => { pid: number }[], graceMs: number): Promise<boolean> {
  const until = performance.now() + graceMs;
  if (signalAll(list, 'SIGTERM') === 0) return false;
  // Stopped processes get their SIGTERM only when they go on.
  signalAll(list, 'SIGCONT');
  for (let wait = 10; performance.now() < until; wait = Math.min(wait * 2, 200)) {
    await sleep(Math.min(wait, Math.max(1, until - performance.now())));
    if (list().length === 0) return false;
  }
  return true;
}

/**
 * SIGKILL to what `list` finds, until nothing is left. Returns how many outlived even that (for 5 s): processes in
 * uninterruptible sleep.
 */
export async function terminate(list: () => { pid: number }[]): Promise<number> {
  let left = 0;
  for (let look = 0; look < 100; look++) {
    left = signalAll(list, 'SIGKILL');
    if (left === 0) return 0;
    await sleep(Math.min(5 + look * 5, 50));
  }
  return left;
}
