import { existsSync, readFileSync } from 'node:fs';

/** What makes a program a service here: `service install` knows systemd alone. */
export const hasSystemd = (): boolean => existsSync('/run/systemd/system');

/** How this machine's agent is kept running as root, as a command to type here. */
export const asRootService = (isSystemd = hasSystemd()): string =>
  isSystemd
    ? 'sudo autogit-node service install'
    : 'without systemd, by what this machine starts at boot: sudo autogit-node join --service';

/** The same, for who has just started one in a terminal. */
export const asService = (isSystemd = hasSystemd()): string =>
  isSystemd
    ? 'To keep it running: autogit-node service install'
    : 'To keep it running, without systemd, have what this machine starts at boot say: autogit-node join --service';

/** Whose systemd started the program that is in these cgroups (text of /proc/PID/cgroup) by the unit of `service install`. Null: nobody's. */
export function startedBySystemd(cgroups: string): 'system' | 'user' | null {
  const path = /^\d+:[^:]*:(\/.*\/autogit-node\.service)(?:\/|$)/m.exec(cgroups)?.[1];
  if (path === undefined) return null;
  return path.includes('/user@') ? 'user' : 'system';
}

/** The same of this agent. A job's shell is in a cgroup below it: an agent that a job starts is no service, and is not told `--service`. */
export function serviceOfAgent(isToldService: boolean): 'system' | 'user' | null {
  if (!isToldService || !existsSync('/proc/self/cgroup')) return null;
  return startedBySystemd(readFileSync('/proc/self/cgroup', 'utf8'));
}

/** What systemd does with an agent that ended by itself, and how it is kept away; deploy/autogit-node.service says so of any end. */
export const startsAgain = (whose: 'system' | 'user'): string =>
  whose === 'system'
    ? 'systemd starts it again in 2 s. To keep it away until the next boot: sudo systemctl stop autogit-node; for good: sudo autogit-node service uninstall'
    : 'systemd starts it again in 2 s. To keep it away until the next login: systemctl --user stop autogit-node; for good: autogit-node service uninstall --user';
