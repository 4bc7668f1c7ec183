import { chownSync, openSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { systemClock } from '../../clock.ts';
import { becomeUser, leaveUnit, sayInLog } from '../../watchdog/side-program.ts';
import { pidLine, readPidFile, seenText, writeTold } from '../../watchdog/told-file.ts';
import { forwardDoorOf, hasTarget, pidFileIn, problemsFileIn, seenFileIn } from './forward-files.ts';
import { ServiceForwarder } from './service-forwarder.ts';

/*
 * The program `__forward FOLDER USER VERSION DOOR...`, which deploy/bundle.mjs builds on its own, as the gate is: a process beside the
 * agent, which outlives it for a minute. It begins as root, for ports below 1024, and then has a user of its own; where the agent is
 * not root, USER is `-` and it stays who it is.
 */

/** It stands in its folder: those above it are root's alone, and it is root no more when it reads. */
const here = '.';
const lookMs = 1000;

const say = (clock: { wallMs(): number }, sentence: string): void => sayInLog('forward', clock, sentence);

async function forwardMain([folder = '', user = '', version = '', ...words]: readonly string[]): Promise<number> {
  process.chdir(folder);
  if (readPidFile(pidFileIn(here)).pid !== null) return 0;
  const [clock, uid] = [systemClock(), user === '-' ? null : Number(user)];
  const seen = openSync(seenFileIn(here), 'w', 0o644);
  if (uid !== null) chownSync(seenFileIn(here), uid, uid);
  const state = { isRetired: false };
  const saySeen = (text: string): void => {
    try {
      writeSync(seen, seenText(text), 0);
    } catch {
      // A full disk: the agent asks the host again after a minute all the same.
    }
  };
  const forwarder = new ServiceForwarder(here, clock, {
    say: (sentence) => say(clock, sentence),
    seen: (id, how) => state.isRetired || saySeen(`${id} ${how}`),
  });
  const doors = words.map(forwardDoorOf);
  const problems = await forwarder.listen(doors);
  for (const { message } of problems) say(clock, `cannot listen: ${message}`);
  await writeTold(problemsFileIn(here), problems, 0o644, renameSync);
  leaveUnit('forward');
  // Told from others by these words: the agent after this one compares them.
  writeFileSync(pidFileIn(here), pidLine('1', user, version, ...words), { mode: 0o644 });
  if (uid !== null) becomeUser(uid);
  for (const name of ['SIGHUP', 'SIGINT'] as const) process.on(name, () => undefined);
  await new Promise<void>((done) => {
    process.once('SIGTERM', () => done());
    process.on('SIGUSR2', () => {
      state.isRetired = true;
      void forwarder.retire().then(done);
      saySeen('- retired');
    });
    setInterval(() => (forwarder.isAlone || !hasTarget(here)) && done(), lookMs);
  });
  forwarder.close();
  say(clock, 'ended');
  return 0;
}

export async function main([, ...words]: readonly string[]): Promise<void> {
  process.exit(await forwardMain(words));
}
