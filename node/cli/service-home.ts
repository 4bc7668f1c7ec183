import {
  cpSync,
  existsSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { AutogitError } from '../../protocol/errors.ts';
import { agentProcess } from '../local-api/agent-process.ts';
import { createClient } from '../local-api/socket-client.ts';
import { type Environment, places, systemHome, userHome } from '../store/home.ts';
import { recallJoin } from '../store/join-memory.ts';
import { hasStore, openStore } from '../store/level-store.ts';
import { ranAsRoot } from './job-user.ts';

const endsWithinMs = 30_000;
const hasIdentity = (home: string): boolean => existsSync(places(home).identity);
const isRunning = (home: string): boolean => agentProcess(home) !== null;

/** The home that a user has by default, as /etc/passwd has it; for whoever typed `sudo`. */
function homeOfUser(name: string | undefined): string | null {
  if (!name || name === 'root') return null;
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((one) => one.startsWith(`${name}:`));
  const folder = line?.split(':')[5];
  return folder ? join(folder, '.local', 'state', 'autogit-node') : null;
}

/**
 * Where the machine's identity is now, and where the system service keeps it. The agent that was started by hand, by root
 * or by whoever types sudo, is this machine: the service goes on as it, and never beside it. Throws `bad-flag` when two
 * homes could be meant.
 */
export function systemHomes(env: Environment = process.env): { from: string; to: string } {
  const candidates = [userHome(env), homeOfUser(env.SUDO_USER)].filter(
    (one): one is string => one !== null && hasIdentity(one),
  );
  const all = [...new Set([...(hasIdentity(systemHome) ? [systemHome] : []), ...candidates])];
  const running = all.filter(isRunning);
  if (running.length === 1 || all.length === 1) return { from: (running[0] ?? all[0]) as string, to: systemHome };
  if (all.length === 0) return { from: systemHome, to: systemHome };
  throw new AutogitError('bad-flag', `two homes on this machine have an identity: ${all.join(' and ')}`, {
    hint: `say which: autogit-node service install --home ${running[0] ?? all[0]}`,
  });
}

/** Runs of jobs that have not ended, of a home; their folders must stay where they are. */
export async function unfinishedRuns(home: string): Promise<number> {
  if (isRunning(home)) {
    const client = createClient(home);
    if ((await client.phase()).phase !== 'joined') return 0;
    return (await client.status()).snapshot.nodes.find(({ self }) => self)?.runs.length ?? 0;
  }
  if (!hasStore(places(home).store)) return 0;
  const store = await openStore(places(home).store);
  try {
    return (await store.runs()).length;
  } finally {
    await store.close();
  }
}

/** Asks the agent that was started by hand to leave, and waits until its store is free. False: none ran. */
export async function endAgent(home: string): Promise<boolean> {
  if (!isRunning(home)) return false;
  await createClient(home).leave();
  for (const end = performance.now() + endsWithinMs; performance.now() < end; await setTimeout(100))
    if (!isRunning(home)) return true;
  throw new AutogitError('agent-running', `the agent of ${home} was asked to leave, and still runs`, {
    hint: `end it, then type service install again: kill ${agentProcess(home)?.pid ?? 'PID'}`,
  });
}

/** Moves a whole home, to another disk if need be, and makes it this user's. */
export function moveHome(from: string, to: string): void {
  if (hasIdentity(to))
    throw new AutogitError('home-unwritable', `${to} has an identity already`, { hint: `say --home ${to}` });
  mkdirSync(dirname(to), { recursive: true });
  rmSync(places(from).socket, { force: true });
  // An empty one, or one with a log only, may have been left there.
  if (existsSync(to)) renameSync(to, `${to}.before-${Date.now()}`);
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
    cpSync(from, to, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
    rmSync(from, { recursive: true, force: true });
  }
  own(to);
}

/** What lay in another user's home becomes ours; links are never followed. */
function own(path: string): void {
  const uid = process.getuid?.() ?? 0;
  const found = lstatSync(path);
  if (found.isSymbolicLink()) return;
  if (found.uid !== uid) lchownSync(path, uid, process.getgid?.() ?? 0);
  if (found.isDirectory()) for (const name of readdirSync(path)) own(join(path, name));
}

/** Whether the agent of this home ran its process jobs as root: it was root's, and nobody had said another user. */
export function jobsWereRoot(home: string): boolean {
  const { store } = places(home);
  if (!existsSync(store) || statSync(store).uid !== 0) return false;
  return ranAsRoot(true, existsSync(join(home, 'join.json')) ? recallJoin(home) : null);
}
