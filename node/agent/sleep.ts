import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import { SleepWatch } from '../machine/sleep-watch.ts';
import type { LanNetwork } from '../network/network.ts';
import type { Member } from './member.ts';

/** How long a polite leave may take; systemd's patience (deploy/autogit-node.service) is longer. */
export const leavePatienceMs = 5_000;

/** Away for longer than this, in ms, the others have given up the connections: they may be dead without our knowing. */
const deadAfterMs = 3_000;

interface Sleeper {
  member: Member;
  network: LanNetwork;
  clock: Clock;
  log: Log;
  /** Aborted when the agent ends: it does not come back then. */
  signal: AbortSignal;
}

/**
 * Sleep and shutdown of the machine are polite leaves too, and from sleep this same agent comes back (DESIGN §6). Returns
 * what ends it.
 */
export function watchSleep({ member, network, clock, log, signal }: Sleeper): () => void {
  if (signal.aborted) return () => {};
  let goneAt = 0;
  const watch = new SleepWatch({
    before: async (going, patienceMs) => {
      log.event({ event: 'machine-going', because: `before ${going} this node leaves the mesh`, fields: { going } });
      const isClean = await member.leave(Math.min(leavePatienceMs, patienceMs));
      if (!isClean) log.warn(`${going} comes before the hand-over is done`);
      goneAt = clock.bootMs();
    },
    after: (going) => {
      if (signal.aborted) return;
      log.event({
        event: 'machine-back',
        because: `back from ${going}: this node takes its place again`,
        fields: { going },
      });
      if (clock.bootMs() - goneAt > deadAfterMs) network.woke();
      member.comeBack();
    },
    debug: (sentence) => log.debug(sentence),
  });
  void watch.start();
  return () => watch.stop();
}
