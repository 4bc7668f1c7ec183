import { chmodSync, mkdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { AutogitError } from '../protocol/errors.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Where the agent of the system service lives. */
export const systemHome = '/var/lib/autogit-node';

/** Where an agent started by this user keeps its state, when --home says nothing. */
export const userHome = (env: Environment): string =>
  join(env.XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'autogit-node');

/** Where autogit.yml is looked for. */
export const configFile = (env: Environment): string =>
  join(env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'autogit-node', 'autogit.yml');

/** The places of one agent's state. */
export const places = (home: string) => ({
  home,
  identity: join(home, 'identity.key'),
  store: join(home, 'store'),
  socket: join(home, 'agent.sock'),
  log: join(home, 'agent.log'),
  backups: join(home, 'backups'),
  mirrors: join(home, 'mirrors'),
  work: join(home, 'work'),
});

/** Makes the home (0700 when new). Throws `home-unwritable`. */
export function prepareHome(home: string): void {
  try {
    mkdirSync(home, { recursive: true, mode: 0o700 });
    const { mode, uid } = statSync(home);
    // Others may list a system service's home (the group reaches its socket), but nobody else may write in it.
    if ((mode & 0o022) !== 0 && uid === process.getuid?.()) chmodSync(home, mode & 0o755);
  } catch (cause) {
    throw new AutogitError('home-unwritable', `${home} cannot be used: ${(cause as Error).message}`, { cause });
  }
}
