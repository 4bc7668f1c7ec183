import { existsSync } from 'node:fs';

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
