import { chownSync, closeSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { systemClock } from '../../clock.ts';
import { becomeUser, leaveUnit, sayInLog } from '../../watchdog/side-program.ts';
import { pidLine, readPidFile, seenText, writeTold } from '../../watchdog/told-file.ts';
import { certificateMark, readCertificate } from './gate-certificate.ts';
import { type Door, doorOf, pidFileIn, problemFileIn, retiredWord, seenFileIn } from './gate-files.ts';
import { writeMemberPort } from './member-door.ts';
import { ServiceGate } from './service-gate.ts';
import { secureContext } from './tls-door.ts';

/*
 * The program `__gate FOLDER USER VERSION DOOR...`, which deploy/bundle.mjs builds on its own: a process beside the watchdog, which
 * outlives its agent. It begins as root, for ports below 1024, and then has a user of its own, which the guard lets through
 * and which owns nothing but the file of what was read.
 */

/** It stands in its folder: those above it are root's alone, and it is root no more when it reads. */
const here = '.';

/** Nobody else's bytes go over it: it is ours before we are nobody. */
function openSeen(uid: number): number {
  const path = seenFileIn(here, process.pid);
  const file = openSync(path, 'w', 0o644);
  chownSync(path, uid, uid);
  return file;
}

const say = (clock: { wallMs(): number }, sentence: string): void => sayInLog('gate', clock, sentence);

/** For the agent, which started this program and hears nothing else of it. */
function sayProblem(error: NodeJS.ErrnoException): Promise<void> {
  const { code = '', message } = error;
  const port = (error as { port?: number }).port ?? null;
  return writeTold(problemFileIn(here), { code, port, message }, 0o600, renameSync);
}

/** Read while it is root: whose file it is nobody else reads. Null where no door needs one. */
function certificateFor(doors: readonly Door[]): ReturnType<typeof secureContext> | null {
  const mark = doors.find(({ certificate }) => certificate !== undefined)?.certificate;
  if (mark === undefined) return null;
  const pem = readCertificate('..');
  if (pem === null || certificateMark(pem) !== mark) throw new Error("the certificate of GitLab's address has changed");
  return secureContext(pem);
}

async function gateMain([folder = '', user = '', version = '', ...words]: readonly string[]): Promise<number> {
  process.chdir(folder);
  if (readPidFile(pidFileIn(here)).pid !== null) return 0;
  const [clock, uid] = [systemClock(), Number(user)];
  const seen = openSeen(uid);
  const state = { id: '', isRetired: false };
  const saySeen = (): void => {
    try {
      writeSync(seen, seenText(state.isRetired ? `${state.id} ${retiredWord}` : state.id), 0);
    } catch {
      // A full disk: the agent then waits until the lease that it wrote before is out.
    }
  };
  const gate = new ServiceGate(here, clock, {
    say: (sentence) => say(clock, sentence),
    heard: ({ id }) => {
      state.id = id;
      saySeen();
    },
  });
  try {
    const doors = words.map(doorOf);
    await gate.listen(doors, { tls: certificateFor(doors), members: (port) => writeMemberPort(here, port) });
  } catch (error) {
    say(clock, `cannot listen: ${(error as Error).message}`);
    await sayProblem(error as NodeJS.ErrnoException);
    rmSync(seenFileIn(here, process.pid), { force: true });
    closeSync(seen);
    return 1;
  }
  leaveUnit('gate');
  // Told from others by these words: the agent after this one compares them.
  writeFileSync(pidFileIn(here), pidLine('1', user, version, ...words), { mode: 0o644 });
  becomeUser(uid);
  // What ends the agent (a terminal that closes, a Ctrl-C that reaches the group) is no reason to cut GitLab off.
  for (const name of ['SIGHUP', 'SIGINT'] as const) process.on(name, () => undefined);
  await new Promise<void>((done) => {
    process.once('SIGTERM', () => done());
    process.on('SIGUSR2', () => {
      void gate.retire().then(done);
      state.isRetired = true;
      saySeen();
    });
  });
  gate.close();
  say(clock, 'ended');
  return 0;
}

export async function main([, ...words]: readonly string[]): Promise<void> {
  process.exit(await gateMain(words));
}
