import { readKernelFile } from './kernel-file.ts';

/** Fields of a line of /proc/PID/stat from the third on, the state. The name before them may hold anything, brackets too. */
export const fieldsOfStat = (stat: string): string[] => stat.slice(stat.lastIndexOf(')') + 2).split(' ');

/** The parent's pid in a line of /proc/PID/stat. */
export function parentInStat(stat: string): number | null {
  const parent = Number(fieldsOfStat(stat)[1]);
  return Number.isInteger(parent) && parent > 0 ? parent : null;
}

/** Parents by /proc; null for a process that is gone. */
export function parentOf(pid: number): number | null {
  try {
    return parentInStat(readKernelFile(`/proc/${pid}/stat`));
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
