import { chownSync, closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { spawnClean } from '../../node/clean-spawn.ts';
import { clockEnvironment, systemClock } from '../../node/clock.ts';
import { pidLine, readPidFile, readSeen, seenText } from '../../node/watchdog/told-file.ts';
import { type Door, Gate } from './gate.ts';

/**
 * The program `__gate`: a process of its own beside the watchdog, which outlives its agent. It begins as root, for ports
 * below 1024, and then has a user of its own, which the guard lets through and which owns nothing but the file of what was read.
 */
const pidFile = (home: string): string => join(home, 'gate.pid');
const seenFile = (home: string): string => join(home, 'gate.seen');

/** The pid of this home's living gate. */
export const gatePid = (home: string): number | null => readPidFile(pidFile(home)).pid;

/** The newest lease that the gate has read: an epoch is closed when it has read so. */
export const leaseSeen = (home: string): string | null => readSeen(seenFile(home));

const doorWord = ({ kind, port, behind, proxy }: Door): string =>
  [kind, port, behind, proxy ? 'proxy' : 'plain'].join('/');

export function doorOf(word: string): Door {
  const found = /^(http|ssh|tls)\/(\d{1,5})\/(\d{1,5})\/(proxy|plain)$/.exec(word);
  const [, kind, port, behind, proxy] = found ?? [];
  if (kind === undefined || Number(port) > 65_535 || Number(behind) > 65_535) throw new Error(`not a door: ${word}`);
  return { kind: kind as Door['kind'], port: Number(port), behind: Number(behind), proxy: proxy === 'proxy' };
}

interface GatePlan {
  home: string;
  uid: number;
  doors: readonly Door[];
  /** The program that has the hidden command `__gate`. */
  bin: string;
}

/** Sees to it that a gate runs; an agent that comes after another finds its gate at work, with what passes through it. */
export function startGate({ home, uid, doors, bin }: GatePlan): void {
  if (gatePid(home) !== null) return;
  // The gate's user reads the lease here, and the world may: there is no secret in it.
  mkdirSync(home, { recursive: true, mode: 0o755 });
  const log = openSync(join(home, 'gate.log'), 'a', 0o600);
  try {
    const args = ['--max-semi-space-size=2', bin, '__gate', home, String(uid), ...doors.map(doorWord)];
    spawnClean(process.execPath, args, {
      cwd: '/',
      detached: true,
      stdio: ['ignore', log, log],
      env: { PATH: process.env.PATH, ...clockEnvironment() },
    }).unref();
  } finally {
    closeSync(log);
  }
}

/** Nobody else's bytes go over it: it is ours before we are nobody. */
function openSeen(home: string, uid: number): number {
  const file = openSync(seenFile(home), 'w', 0o644);
  chownSync(seenFile(home), uid, uid);
  return file;
}

function becomeUser(uid: number): void {
  process.setgroups?.([]);
  process.setgid?.(uid);
  process.setuid?.(uid);
}

export async function gateMain([home = '', user = '', ...words]: readonly string[]): Promise<number> {
  if (gatePid(home) !== null) return 0;
  const clock = systemClock();
  const seen = openSeen(home, Number(user));
  const say = (sentence: string): void => console.log(`${new Date(clock.wallMs()).toISOString()} ${sentence}`);
  const gate = new Gate(home, clock, {
    say,
    heard: ({ id }) => void writeSync(seen, seenText(id), 0),
  });
  try {
    await gate.listen(words.map(doorOf));
  } catch (error) {
    say(`cannot listen: ${(error as Error).message}`);
    return 1;
  }
  writeFileSync(pidFile(home), pidLine(), { mode: 0o644 });
  becomeUser(Number(user));
  // What ends the agent (a terminal that closes, a Ctrl-C that reaches the group) is no reason to cut GitLab off.
  for (const name of ['SIGHUP', 'SIGINT'] as const) process.on(name, () => undefined);
  await new Promise((done) => process.once('SIGTERM', done));
  gate.close();
  return 0;
}
