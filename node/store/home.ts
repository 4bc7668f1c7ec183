import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

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
  caches: join(home, 'caches'),
  work: join(home, 'work'),
  history: join(home, 'history'),
  page: join(home, 'page.json'),
  fallback: join(home, 'fallback'),
});

/** Members of this group may use the system service's agent. */
export const serviceGroup = 'autogit-node';

/** Id of a group by name, as /etc/group has it; null when there is none. */
export function groupId(name: string, groups: string): number | null {
  const line = groups.split('\n').find((one) => one.startsWith(`${name}:`));
  const id = Number(line?.split(':')[2]);
  return line !== undefined && Number.isInteger(id) ? id : null;
}

/** Who may use the socket of a home: its owner (0600); for the system service its group too (0660). */
export function socketAccess(home: string): { mode: number; group: number | null } {
  const group = home === systemHome ? groupId(serviceGroup, readFileSync('/etc/group', 'utf8')) : null;
  return { mode: group === null ? 0o600 : 0o660, group };
}

/**
 * Makes a folder and those above it. Not by Node's `recursive`, which never ends where a file system takes no folders and
 * calls that "no such file" (/proc).
 */
export function makeFolder(path: string, mode: number): void {
  if (existsSync(path)) return;
  if (dirname(path) !== path) makeFolder(dirname(path), mode);
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    // Somebody else was sooner.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/**
 * Makes the home: 0700; the system service's is 0750 where its group exists, so that the group reaches the socket.
 * Nobody else may ever write in it. Throws `home-unwritable`.
 */
export function prepareHome(home: string): void {
  try {
    makeFolder(home, 0o700);
    const { mode, uid } = statSync(home);
    const isOurs = uid === process.getuid?.();
    if ((mode & 0o022) !== 0 && isOurs) chmodSync(home, mode & 0o755);
    const { group } = socketAccess(home);
    if (group !== null && isOurs) {
      chownSync(home, uid, group);
      chmodSync(home, 0o750);
    }
  } catch (cause) {
    throw new AutogitError('home-unwritable', `${home} cannot be used: ${sentenceOf(cause)}`, { cause });
  }
}
