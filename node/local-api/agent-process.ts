import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fieldsOfStat } from '../machine/processes.ts';
import { showDuration } from '../settings/quantities.ts';
import { places } from '../store/home.ts';

/** The process that has a home's store open. */
interface AgentProcess {
  pid: number;
  /** The kernel's letter: R, S, D; T is stopped (Ctrl-Z, SIGSTOP), t traced, Z dead. */
  state: string;
  upMs: number;
}

const ticksPerSecond = 100;

const readOr = <T>(fallback: T, read: () => T): T => {
  try {
    return read();
  } catch {
    return fallback;
  }
};

/** The process that holds the lock of LevelDB on this file, as the kernel lists it; null when none does, or it cannot be told. */
function lockHolder(file: string): number | null {
  const found = readOr(null, () => statSync(file));
  if (found === null) return null;
  const inode = `:${found.ino} `;
  const line = readOr('', () => readFileSync('/proc/locks', 'utf8'))
    .split('\n')
    .find((one) => one.includes(inode) && !one.includes('->'));
  const pid = Number(line?.trim().split(/\s+/)[4]);
  return pid > 0 ? pid : null;
}

/** Who runs on this home, asked of the kernel: also an agent that answers nobody. Null: nobody, or it cannot be told. */
export function agentProcess(home: string): AgentProcess | null {
  const pid = lockHolder(join(places(home).store, 'level', 'LOCK'));
  if (pid === null) return null;
  const fields = fieldsOfStat(readOr('', () => readFileSync(`/proc/${pid}/stat`, 'utf8')));
  const uptime = Number(readOr('0', () => readFileSync('/proc/uptime', 'utf8')).split(' ')[0]);
  const startedAt = Number(fields[19]) / ticksPerSecond;
  return { pid, state: fields[0] || '?', upMs: Math.max(0, (uptime - startedAt) * 1000) || 0 };
}

/** What is to be said of an agent that does not answer: a sentence, and what to type. */
export function silentAgent(home: string): { sentence: string; hint: string } {
  const found = agentProcess(home);
  if (found === null) return { sentence: `the agent of ${home} does not answer`, hint: `fuser ${places(home).socket}` };
  const { pid, state } = found;
  const who = `the agent here (pid ${pid}) does not answer`;
  if (state === 'T') return { sentence: `${who}; it is stopped (T)`, hint: `kill -CONT ${pid}` };
  if (state === 't') return { sentence: `${who}; a debugger holds it (t)`, hint: `grep TracerPid /proc/${pid}/status` };
  if (state === 'D') return { sentence: `${who}; it waits for a disk (D)`, hint: 'dmesg | tail; df -h' };
  return { sentence: `${who}; it is busy (${state})`, hint: `top -p ${pid}` };
}

/** `pid 269, up 4 min` */
export function shownProcess(home: string): string {
  const found = agentProcess(home);
  return found === null ? 'it runs here' : `pid ${found.pid}, up ${showDuration(found.upMs)}`;
}
