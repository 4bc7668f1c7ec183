import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../node/clock.ts';
import { startWatchdog, watchdogMain, writeBeat } from '../../node/watchdog/watchdog.ts';
import type { Door } from './gate.ts';
import { type Guard, isGuarded, setGuard } from './gate-guard.ts';
import { writeLease } from './gate-lease.ts';
import { gateMain, startGate } from './gate-process.ts';

/**
 * What an agent does for its gate, in a process of its own that a test can stop, kill and replace: guard, gate and watchdog
 * before all, then a lease and a beat every 500 ms. What the mesh would have decided stands in a file of the test.
 */
export interface AgentWish {
  epoch: number;
  leaseMs: number;
  upstream: string | null;
  isServing: boolean;
  because: string;
  /** The container's control group, frozen by the watchdog when the lease is out. */
  freezer: string | null;
}

export interface AgentSetting {
  home: string;
  guard: Guard;
  doors: Door[];
}

const renewMs = 500;

async function agentMain({ home, guard, doors }: AgentSetting): Promise<never> {
  const clock = systemClock();
  const bin = process.argv[1] as string;
  setGuard(guard);
  for (let count = 0; ; count++) {
    const wish = JSON.parse(readFileSync(join(home, 'wish.json'), 'utf8')) as AgentWish;
    const now = clock.bootMs();
    const until = now + wish.leaseMs;
    const id = `${process.pid}-${count}`;
    // No lease without all three (SAFETY H1, H3): rules that somebody flushed come back before it.
    if (!isGuarded(guard)) setGuard(guard);
    startGate({ home, uid: guard.uid, doors, bin });
    const { epoch, upstream, isServing, because, freezer } = wish;
    writeLease(home, { id, bootId: clock.bootId(), epoch, until, upstream, isServing, because });
    const path = freezer === null ? [] : [freezer];
    await writeBeat(home, {
      bootId: clock.bootId(),
      id,
      runs: path.map((group) => ({ run: `gitlab-${epoch}`, until, freeze: { kind: 'cgroup' as const, path: group } })),
    });
    if (!(await startWatchdog(home))) throw new Error('no watchdog can be started');
    await sleep(renewMs);
  }
}

const [, , role, ...words] = process.argv;
if (role === '__gate') process.exit(await gateMain(words));
else if (role === '__watchdog') process.exit(await watchdogMain(words[1] as string));
else await agentMain(JSON.parse(role as string) as AgentSetting);
