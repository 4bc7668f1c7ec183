import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RunWatch } from '../../node/agent/run-watch.ts';
import { systemClock } from '../../node/clock.ts';
import type { Door } from '../../node/hosting/gate/gate-files.ts';
import type { Guard } from '../../node/hosting/gate/gate-guard.ts';
import { GateKeeper, type HostedLease } from '../../node/hosting/gate/gate-keeper.ts';

/**
 * What an agent has for its gate, in a process of its own that a test can stop, kill and replace: the product's keeper and its
 * beat, and a lease every 500 ms. What the mesh would have decided stands in a file of the test. What comes of it is printed.
 */
export interface AgentWish extends Omit<HostedLease, 'until'> {
  /** 0: the mesh gives none. */
  leaseMs: number;
  /** The epoch is to be closed. */
  isClosing: boolean;
  /** GitLab is gone from here. */
  isEnding: boolean;
}

export interface AgentSetting {
  home: string;
  guard: Guard;
  doors: Door[];
  version: string;
  isStrict?: boolean;
}

const renewMs = 500;

export async function main([words]: readonly string[]): Promise<void> {
  const { home, ...setting } = JSON.parse(words as string) as AgentSetting;
  const clock = systemClock();
  const said = new Set<string>();
  const say = (sentence: string): void => {
    if (!said.has(sentence)) console.log(sentence);
    said.add(sentence);
  };
  const watch = new RunWatch({
    home,
    runs: { beats: async () => [] },
    clock,
    onProblem: (because) => say(`beat: ${because}`),
  });
  watch.start();
  const keeper = new GateKeeper({ home, clock, log: { info: say, warn: say }, watch, ...setting });
  for (; ; await sleep(renewMs)) {
    const { leaseMs, isClosing, isEnding, ...lease } = JSON.parse(
      readFileSync(join(home, 'wish.json'), 'utf8'),
    ) as AgentWish;
    if (isEnding) {
      await keeper.end();
      say('no gate is left');
      watch.stop();
      return;
    }
    if (isClosing) {
      await keeper.close(lease.epoch, lease.because);
      say(`closed ${lease.epoch}`);
    } else if (leaseMs > 0)
      await keeper.renew({ ...lease, until: clock.bootMs() + leaseMs }).then(
        () => say(`renewed ${lease.epoch} ${lease.because}`),
        (error: Error) => say(`refused: ${error.message}; ${keeper.problems().length}`),
      );
  }
}
