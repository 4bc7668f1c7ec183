import { readdirSync, readlinkSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { readKernelFile } from '../machine/kernel-file.ts';
import { fieldsOfStat } from '../machine/processes.ts';
import { readSupervisors } from './step-record.ts';

/**
 * By what the processes of a run are told from all others of this machine, without a control group and without a name of
 * ours in a job's environment. Plain data: the watchdog gets it in its beat.
 */
export interface RunMarks {
  /** Entries NAME=VALUE that the run's processes begin with; each value is a folder that only this run has. */
  entries: string[];
  /** The agent's folder of the run, whose status files name the supervisors; then other folders of the run. */
  places: string[];
  /** The uid that its jobs have. */
  uid: number;
  /** That uid is no one else's: all that has it is of the run. */
  isUidAlone: boolean;
}

/** Below it are root and the system's own: whatever a file says, they are never a run's alone. */
export const leastUid = 1000;

/** Of a run that an earlier agent began: its name in the environment is all that is known of it. */
export const marksOfRun = (run: string): RunMarks => ({
  entries: [`AUTOGIT_RUN=${run}`],
  places: [],
  uid: -1,
  isUidAlone: false,
});

export interface ProcessStat {
  pid: number;
  parent: number;
  state: string;
  session: number;
  /** Clock ticks since boot: with the pid it names a process for ever, so a recycled pid is never taken for it. */
  startTicks: string;
}
export type ProcessName = Pick<ProcessStat, 'pid' | 'startTicks'>;

const parseStat = (pid: number): ProcessStat | null => {
  try {
    const fields = fieldsOfStat(readKernelFile(`/proc/${pid}/stat`));
    const [state = '?', parent] = fields;
    return { pid, state, parent: Number(parent), session: Number(fields[3]), startTicks: fields[19] ?? '' };
  } catch {
    return null;
  }
};

/** Empty for a process that is not there. */
export const startTicksOf = (pid: number): string => parseStat(pid)?.startTicks ?? '';

const isGone = ({ state }: ProcessStat): boolean => state === 'Z' || state === 'X';

/** True while exactly this process runs; a zombie does not. */
export function isAlive(pid: number, startTicks: string): boolean {
  const stat = parseStat(pid);
  return stat !== null && stat.startTicks === startTicks && !isGone(stat);
}

/** False once exactly this process waits for something, or is gone. */
export function isAtWork(pid: number, startTicks: string): boolean {
  const stat = parseStat(pid);
  return stat !== null && stat.startTicks === startTicks && !isGone(stat) && stat.state !== 'S';
}

function living(): ProcessStat[] {
  const all: ProcessStat[] = [];
  for (const folder of readdirSync('/proc')) {
    const stat = /^\d+$/.test(folder) ? parseStat(Number(folder)) : null;
    if (stat && !isGone(stat)) all.push(stat);
  }
  return all;
}

/** The environment that it began with; null where that may not be read. */
const entriesOf = (pid: number): string[] | null => {
  try {
    return readKernelFile(`/proc/${pid}/environ`).split('\0');
  } catch {
    return null;
  }
};

/** Real, effective and saved; /proc/<pid> itself belongs to root where a process hides from debuggers. */
const hasUid = (pid: number, uid: number): boolean => {
  try {
    const line = /^Uid:(.*)$/m.exec(readKernelFile(`/proc/${pid}/status`))?.[1] ?? '';
    return line.trim().split(/\s+/).map(Number).includes(uid);
  } catch {
    return false;
  }
};

/**
 * Who works in a folder of the run, has the job's uid and has cleared its environment is of the run. A person who looks
 * into that folder has a HOME, and is left alone with all that she starts.
 */
function worksIn(pid: number, { places, uid }: RunMarks, entries: readonly string[]): boolean {
  if (entries.some((entry) => entry.startsWith('HOME='))) return false;
  try {
    const at = readlinkSync(`/proc/${pid}/cwd`);
    return places.some((place) => at === place || at.startsWith(`${place}/`)) && hasUid(pid, uid);
  } catch {
    return false;
  }
}

/** With them all of their sessions, and what they began. Never this process, nor what shares its session. */
function withFamily(all: readonly ProcessStat[], marked: ReadonlySet<number>): ProcessStat[] {
  const own = all.find((stat) => stat.pid === process.pid)?.session;
  const candidates = all.filter((stat) => stat.pid > 1 && stat.pid !== process.pid && stat.session !== own);
  const found = new Map(candidates.filter(({ pid }) => marked.has(pid)).map((stat) => [stat.pid, stat]));
  for (let before = -1; before !== found.size; ) {
    before = found.size;
    const sessions = new Set([...found.values()].map(({ session }) => session).filter((session) => session > 0));
    for (const stat of candidates) if (found.has(stat.parent) || sessions.has(stat.session)) found.set(stat.pid, stat);
  }
  return [...found.values()];
}

/** The living processes of a run. `seen`: what was known to be of it before. */
export function processesOf(marks: RunMarks, seen: Iterable<ProcessName> = []): ProcessStat[] {
  const all = living();
  const roots = new Map([...supervisorsOf(marks), ...seen].map(({ pid, startTicks }) => [pid, startTicks]));
  const wanted = new Set(marks.entries);
  const marked = new Set<number>();
  const alone: ProcessStat[] = [];
  const isAlone = marks.isUidAlone && marks.uid >= leastUid;
  for (const stat of all) {
    if (stat.pid === process.pid || stat.pid === 1) continue;
    const isRoot = roots.get(stat.pid) === stat.startTicks;
    const entries = isRoot ? null : entriesOf(stat.pid);
    if (isRoot || entries?.some((entry) => wanted.has(entry)) || (isAlone && hasUid(stat.pid, marks.uid)))
      marked.add(stat.pid);
    // Its session may be a desktop's: only it itself is taken.
    else if (entries !== null && worksIn(stat.pid, marks, entries)) alone.push(stat);
  }
  const family = withFamily(all, marked);
  const pids = new Set(family.map(({ pid }) => pid));
  const own = all.find((stat) => stat.pid === process.pid)?.session;
  return [...family, ...alone.filter(({ pid, session }) => !pids.has(pid) && session !== own)];
}

/** What runs below a folder of runs, in a place of it that `isKept` does not know; also where the folder is gone already. `path`: below that folder. */
export function straysBelow(workDir: string, isKept: (path: string[]) => boolean): ProcessStat[] {
  const names = ['HOME', 'CI_BUILDS_DIR', 'CI_PROJECT_DIR'].map((name) => `${name}=${workDir}/`);
  const all = living();
  const marked = all.filter(({ pid }) => {
    const entries = entriesOf(pid) ?? [];
    const paths = entries.flatMap((entry) =>
      names.filter((name) => entry.startsWith(name)).map((name) => entry.slice(name.length).split('/')),
    );
    return paths.some((path) => path[0] !== '' && !isKept(path));
  });
  return withFamily(all, new Set(marked.map(({ pid }) => pid)));
}

/** Whatever has it: in a session of ours too. */
export const processesOfUid = (uid: number): ProcessStat[] => living().filter(({ pid }) => hasUid(pid, uid));

/** Who looks after the steps of a run, living or not any more. */
export const supervisorsOf = ({ places: [folder], uid }: RunMarks): ProcessName[] =>
  folder === undefined ? [] : readSupervisors(folder).filter(({ pid, output }) => mayLookAfter(pid, uid, output));

/**
 * Whether a process that a step's record names may be its supervisor, or bring its output to that file. What runs as the job's user can
 * write any number into a record; who is somebody else is not ended for it, nor waited for.
 */
export function mayLookAfter(pid: number, uid: number, output: string): boolean {
  if (hasUid(pid, uid)) return true;
  try {
    const [its, wanted] = [statSync(`/proc/${pid}/fd/1`), statSync(output)];
    return its.dev === wanted.dev && its.ino === wanted.ino;
  } catch {
    return false;
  }
}

const childrenOf = (pid: number): number[] => {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
      readKernelFile(`/proc/${pid}/task/${thread}/children`).split(' ').filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
};

const mostSeen = 2000;

/** Those of the roots that live, and all that they began, by the kernel's lists of children: a cheap look. */
export function descendants(roots: Iterable<ProcessName>): ProcessName[] {
  const found = new Map<number, ProcessName>();
  const open = [...roots].filter(({ pid, startTicks }) => isAlive(pid, startTicks));
  for (let one = open.pop(); one !== undefined && found.size < mostSeen; one = open.pop()) {
    if (found.has(one.pid)) continue;
    found.set(one.pid, one);
    for (const child of childrenOf(one.pid)) {
      const stat = parseStat(child);
      if (stat !== null && stat.parent === one.pid) open.push({ pid: child, startTicks: stat.startTicks });
    }
  }
  return [...found.values()];
}

const signal = (pid: number, name: NodeJS.Signals): void => {
  try {
    process.kill(pid, name);
  } catch {
    // It ended in between, or is another user's (then nothing of ours can end it).
  }
};

/** Sends a signal to all of them. Returns how many there are. */
export function signalAll(found: readonly { pid: number }[], name: NodeJS.Signals): number {
  for (const { pid } of found) signal(pid, name);
  return found.length;
}

/** SIGSTOP until nothing of the run still moves: what is forked between two looks is found by the next. */
export function stopRun(list: () => ProcessStat[]): void {
  for (let look = 0; look < 20; look++) {
    const moving = list().filter((stat) => stat.state !== 'T' && stat.state !== 't');
    if (moving.length === 0) return;
    for (const { pid } of moving) signal(pid, 'SIGSTOP');
  }
}

export function continueRun(list: () => ProcessStat[]): void {
  signalAll(list(), 'SIGCONT');
}

type Look = () => { pid: number }[] | Promise<{ pid: number }[]>;

/** SIGTERM to what `list` finds. True when something of it is still there after graceMs. */
export async function askToEnd(list: Look, graceMs: number): Promise<boolean> {
  const until = performance.now() + graceMs;
  if (signalAll(await list(), 'SIGTERM') === 0) return false;
  // Stopped processes get their SIGTERM only when they go on.
  signalAll(await list(), 'SIGCONT');
  for (let wait = 10; performance.now() < until; wait = Math.min(wait * 2, 200)) {
    await sleep(Math.min(wait, Math.max(1, until - performance.now())));
    if ((await list()).length === 0) return false;
  }
  return true;
}

/**
 * SIGKILL to what `list` finds, until nothing is left. Returns how many outlived even that (for 5 s): processes in
 * uninterruptible sleep.
 */
export async function terminate(list: Look): Promise<number> {
  let left = 0;
  for (let look = 0; look < 100; look++) {
    left = signalAll(await list(), 'SIGKILL');
    if (left === 0) return 0;
    await sleep(Math.min(5 + look * 5, 50));
  }
  return left;
}
