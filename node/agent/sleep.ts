import type { Log } from '../log.ts';
import { SleepWatch } from '../machine/sleep-watch.ts';
import type { Member } from './member.ts';

/**
 * Sleep and shutdown of the machine are polite leaves too, and from sleep this same agent comes back (DESIGN §6). Returns
 * what ends it.
 */
export function watchSleep(member: Member, log: Log, signal: AbortSignal): () => void {
  if (signal.aborted) return () => {};
  const watch = new SleepWatch({
    before: async (going, patienceMs) => {
      log.event('machine-going', `before ${going} this node leaves the mesh`, { going });
      const isClean = await member.leave(patienceMs);
      if (!isClean) log.warn(`${going} comes before the hand-over is done`);
    },
    after: (going) => {
      if (signal.aborted) return;
      log.event('machine-back', `back from ${going}: this node takes its place again`, { going });
      member.comeBack();
    },
    debug: (sentence) => log.debug(sentence),
  });
  void watch.start();
  return () => watch.stop();
}
