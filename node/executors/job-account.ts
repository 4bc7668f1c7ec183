import { existsSync, lstatSync, readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { delimiter } from 'node:path';
import { AutogitError } from '../../protocol/errors.ts';
import { spawnCleanSync, usualPath } from '../clean-spawn.ts';
import { buildsOf, dropTo, type JobUser } from './run-file.ts';
import { readAutoUser } from './run-uids.ts';

interface Account {
  name: string;
  uid: number;
  gid: number;
  home: string;
  shell: string;
}

const accountOf = (line: string | undefined): Account | null => {
  const [name = '', , uid, gid, , home = '', shell = ''] = (line ?? '').trim().split(':');
  if (!Number.isInteger(Number(uid ?? 'x')) || !Number.isInteger(Number(gid ?? 'x'))) return null;
  return { name, uid: Number(uid), gid: Number(gid), home, shell };
};

/** By the machine's own file, else as its directories say. Throws where nobody has the name. */
function findAccount(name: string): Account {
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n');
  const own = accountOf(lines.find((line) => line.startsWith(`${name}:`)));
  const found = own ?? accountOf(spawnCleanSync('getent', ['passwd', '--', name], { timeout: 2000 }).stdout);
  if (found === null)
    throw new AutogitError('bad-config', `there is no user ${name} on this machine`, {
      hint: `make it, or let each job be a user of its own (--user auto): useradd -m ${name}`,
    });
  return found;
}

export const agentPath = (): string => process.env.PATH ?? usualPath;

/** $1: the folder for runs, $2: HOME or empty; then the places of PATH. Says what of it this user can use. */
const looking = `cd "$1" || exit 3
[ -n "$2" ] && [ -d "$2" ] && (cd "$2" && [ -r . ] && [ -w . ]) && echo home
shift 2
for place; do [ -d "$place" ] && [ -x "$place" ] && echo "place $place"; done
exit 0`;

/** As that user: what it can reach. `shown` is how the user is called in a complaint. */
function reach(
  { uid, gid }: { uid: number; gid: number },
  workDir: string,
  home: string | null,
  shown: string,
): { hasHome: boolean; path: string } {
  const folders = [...new Set([...agentPath().split(delimiter), ...usualPath.split(delimiter)])];
  const own = home === null ? [] : [`${home}/.local/bin`, `${home}/bin`];
  const places = [...own, ...folders].filter((place) => place.startsWith('/') && !place.includes('\n'));
  const asked = spawnCleanSync('/bin/sh', ['-c', looking, 'sh', workDir, home ?? '', ...places], {
    cwd: '/',
    ...dropTo({ uid, gid }),
  });
  if (asked.status !== 0)
    throw new AutogitError('home-unwritable', `${shown} cannot reach ${workDir}`, {
      hint: 'choose a folder for runs that this user can reach',
    });
  const lines = asked.stdout.split('\n');
  const reached = lines.filter((line) => line.startsWith('place ')).map((line) => line.slice('place '.length));
  return { hasHome: lines.includes('home'), path: reached.join(delimiter) || usualPath };
}

/** A person's account with HOME and shell; what it cannot use of these, jobs get fresh. */
export function namedUser(name: string, workDir: string): { user: JobUser; said: string | null } {
  const { uid, gid, home, shell } = findAccount(name);
  const { hasHome, path } = reach({ uid, gid }, workDir, home || null, `user ${name}`);
  const problem = existsSync(home) ? 'cannot be read and written by that user' : 'is not there';
  return {
    user: { uid, gid, name, home: hasHome ? home : null, shell: loginShell(shell), path, isAuto: false },
    said: hasHome ? null : `the home ${home || '(none)'} of user ${name} ${problem}: jobs have a fresh HOME`,
  };
}

export const autoUser = (uid: number, workDir: string): JobUser => ({
  uid,
  gid: uid,
  name: `job-${uid}`,
  home: null,
  shell: '/bin/bash',
  path: reach({ uid, gid: uid }, workDir, null, `a job's own user (uid ${uid})`).path,
  isAuto: true,
});

/** Who the jobs of a run are whose agent, an earlier one, did not note it: whom its tree belongs to, with the fresh HOME of then. */
export function ownerOfRun(folder: string): JobUser | null {
  const found = lstatSync(buildsOf(folder), { throwIfNoEntry: false });
  if (process.getuid?.() !== 0 || found === undefined || found.uid === 0) return null;
  const { uid, gid } = found;
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((one) => one.split(':')[2] === String(uid));
  const name = accountOf(line)?.name ?? String(uid);
  return { uid, gid, name, home: null, shell: '/bin/bash', path: null, isAuto: false };
}

/** That of an account nobody logs in with is no shell. */
const loginShell = (shell: string): string =>
  shell === '' || /\/(nologin|false|true|sync)$/.test(shell) || !existsSync(shell) ? '/bin/bash' : shell;

/** Null for a uid without a name, as in a container. */
function ownName(): string | null {
  try {
    return userInfo().username;
  } catch {
    return null;
  }
}

/** Who jobs are, by `--user`: null is the agent's own user with a fresh HOME. Throws where that cannot be. */
export function wantedUser(user: string | null): 'own' | 'auto' | 'named' {
  const isRoot = process.getuid?.() === 0;
  // Root by name is root as ever.
  if (user === null || (isRoot && user === 'root')) return 'own';
  const isAuto = readAutoUser(user) !== null;
  if (isRoot) return isAuto ? 'auto' : 'named';
  if (!isAuto && user === ownName()) return 'named';
  throw new AutogitError(
    'bad-flag',
    `only an agent that runs as root can run jobs as ${isAuto ? 'users of their own (--user auto)' : `user ${user}`}`,
    {
      hint: `leave --user out (jobs then are who the agent is), or start it as root: sudo autogit-node join --executor process --user ${user}`,
    },
  );
}
