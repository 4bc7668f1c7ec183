import { statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { roundText } from '../../../protocol/round-name.ts';
import { type Machine, roundsTo } from './machine.ts';

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
  await host.replica.open();
  await standby.replica.open();
  const before = host.replica.rounds().at(-1)?.name.number ?? 0;
  if (before === 0) await host.replica.prepare();
  let bootMs = 0;
  const problems: string[] = [];
  const rounds = roundsTo(host, standby, { bootMs: () => bootMs, onProblem: (words) => problems.push(words) });
  rounds.resume();
  const stretches: Stretch[] = [];
  let ms: number[] = [];
  for (let at = before + 1; at <= before + count; at++) {
    bootMs += 5000;
    // Overwritten, made anew and removed: 64 files that hold what was written last.
    writeFileSync(join(host.live, `file-${at % 64}`), `${at}\n`.repeat(3000));
    const began = performance.now();
    const { name } = await rounds.round();
    ms.push(performance.now() - began);
    const newest = standby.replica.rounds().at(-1);
    if (!newest || roundText(newest.name) !== roundText(name))
      throw new Error(`round ${at} is not on the standby: ${problems.at(-1)}`);
    if (at % perStretch !== 0 && at !== before + count) continue;
    const kept: Stretch['kept'] = [host.replica.rounds().length, standby.replica.rounds().length];
    const stretch = { rounds: at, ms, kept, usedBytes: [usedBytes(host.mount), usedBytes(standby.mount)] } as Stretch;
    stretches.push(stretch);
    say(stretch);
    ms = [];
  }
  return stretches;
}
