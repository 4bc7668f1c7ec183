import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { hasSystemd } from '../machine/as-service.ts';
import { type Environment, systemHome, userHome } from '../store/home.ts';

export const serviceUnit = 'autogit-node.service';
export const systemUnit = `/etc/systemd/system/${serviceUnit}`;

/** Of the service that is one user's own. */
export const userUnit = (env: Environment): string =>
  join(env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'systemd', 'user', serviceUnit);

/**
 * Is `service install` what a person at this agent's terminal may want? Only for a default home: another one is a second agent. In a file of its
 * own, since each agent asks it: what installs a service brings the parser of autogit.yml and the client of agent.sock.
 */
export function mayStartAtBoot(home: string): boolean {
  if (!hasSystemd() || ![userHome(process.env), systemHome].includes(home)) return false;
  const bus = process.env.XDG_RUNTIME_DIR;
  if (process.getuid?.() !== 0 && !(bus && existsSync(join(bus, 'systemd')))) return false;
  return ![systemUnit, userUnit(process.env)].some((file) => existsSync(file));
}
