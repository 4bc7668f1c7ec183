import { readFileSync } from 'node:fs';

/** The parent's pid in a line of /proc/PID/stat; the name before it may hold spaces and brackets. */
export function parentInStat(stat: string): number | null {
  const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  return Number.isInteger(parent) && parent > 0 ? parent : null;
}

/** Parents by /proc; null for a process that is gone. */
export function parentOf(pid: number): number | null {
  try {
    return parentInStat(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return null;
  }
}

/** True for a file of /run/systemd/sessions that says: somebody sits at this machine's own screen. */
export function isLocalScreen(session: string): boolean {
  const value = (key: string): string | undefined => new RegExp(`^${key}=(.*)$`, 'm').exec(session)?.[1];
  return (
    value('ACTIVE') === '1' &&
    value('REMOTE') !== '1' &&
    ['x11', 'wayland', 'mir'].includes(value('TYPE') ?? '') &&
    (value('CLASS') ?? 'user').startsWith('user')
  );
}
