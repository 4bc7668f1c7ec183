import type { ChangeOutcome } from '../../protocol/changes.ts';
import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import { SleepWatch } from '../machine/sleep-watch.ts';
import type { LanNetwork } from '../network/network.ts';
import type { Member } from './member.ts';

/** How long a polite leave may take; systemd's patience (deploy/autogit-node.service) is longer. */
export const leavePatienceMs = 5_000;

/** Away for longer than this, in ms, the others have given up the connections: they may be dead without our knowing. */
const deadAfterMs = 3_000;

/** So much of logind's time is left for the polite leave itself. */
const leaveMarginMs = 2_000;

interface Sleeper {
  /** By which GitLab moves to another machine. */
  move(node: string, signal: AbortSignal): Promise<ChangeOutcome>;
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
export function watchSleep({ member, network, clock, log, signal, move }: Sleeper): () => void {
  if (signal.aborted) return () => {};
  let goneAt = 0;
  let stays = new AbortController();
  const { handOver } = member.hosting;
  const watch = new SleepWatch({
    before: async (going, patienceMs) => {
      log.event({ event: 'machine-going', because: `before ${going} this node leaves the mesh`, fields: { going } });
      const end = performance.now() + patienceMs;
      stays = new AbortController();
      const over = AbortSignal.any([signal, stays.signal]);
      await handOver.before({ going, patienceMs: patienceMs - leaveMarginMs, signal: over, move });
      // Called off meanwhile: it stays in the mesh.
      if (stays.signal.aborted) return;
      const isClean = await member.leave(Math.min(leavePatienceMs, Math.max(0, end - performance.now())));
      if (!isClean) log.warn(`${going} comes before the hand-over is done`);
      goneAt = clock.bootMs();
    },
    after: (going) => {
      stays.abort();
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
  void watch.start().then((holds) => holds && handOver.mayTake(watch.patienceMs - leaveMarginMs));
  return () => watch.stop();
}
