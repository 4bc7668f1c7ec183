import { statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Round } from '../../../node/hosting/replica/replica-ports.ts';
import { roundText } from '../../../protocol/round-name.ts';
import { thin } from '../../../scheduler/hosting/copies/thinning.ts';
import type { Machine } from './machine.ts';

/** One look in a long row of rounds. */
export interface Stretch {
  rounds: number;
  /** Of each round of this stretch, its thinning included: from before the snapshot until it is acknowledged. */
  ms: number[];
  /** Rounds that are kept, and bytes in use: host, standby. */
  kept: [number, number];
  usedBytes: [number, number];
}

const usedBytes = (mount: string): number => {
  const { blocks, bfree, bsize } = statfsSync(mount);
  return (blocks - bfree) * bsize;
};

/** Goes on where the images stand. Round after round with thinning, each 5 s of the host's time after the one before: 20,000 are a day and four hours. */
export async function manyRounds(
  [host, standby]: readonly [Machine, Machine],
  count: number,
  perStretch: number,
  say: (stretch: Stretch) => void,
): Promise<Stretch[]> {
  for (const machine of [host, standby]) await machine.open();
  const before = host.replica.rounds().at(-1) ?? null;
  if (before === null) await host.prepare();
  const first = before?.name.number ?? 0;
  const stretches: Stretch[] = [];
  let ms: number[] = [];
  let parent: Round | null = before;
  for (let at = first + 1; at <= first + count; at++) {
    // Overwritten, made anew and removed: 64 files that hold what was written last.
    writeFileSync(join(host.live, `file-${at % 64}`), `${at}\n`.repeat(3000));
    const began = performance.now();
    const round: Round = await host.replica.snapshot({ era: 1, epoch: 1, number: at }, at * 5000);
    const sending = {
      pins: [round.name],
      urgency: 'round' as const,
      told: () => {},
      signal: new AbortController().signal,
    };
    const sent = { ...round, parent: parent?.name ?? null };
    await standby.standby.take(sent, host.replica.send(round, parent), sending);
    parent = round;
    if (at % 20 === 0)
      for (const { replica } of [host, standby])
        await replica.remove(thin(replica.rounds(), new Set([roundText(round.name)])));
    ms.push(performance.now() - began);
    const newest = standby.replica.rounds().at(-1);
    if (!newest || roundText(newest.name) !== roundText(round.name))
      throw new Error(`round ${at} is not on the standby`);
    if (at % perStretch !== 0 && at !== first + count) continue;
    const kept: Stretch['kept'] = [host.replica.rounds().length, standby.replica.rounds().length];
    const stretch = { rounds: at, ms, kept, usedBytes: [usedBytes(host.mount), usedBytes(standby.mount)] } as Stretch;
    stretches.push(stretch);
    say(stretch);
    ms = [];
  }
  return stretches;
}
