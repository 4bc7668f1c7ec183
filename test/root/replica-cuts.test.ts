import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { install } from '../bench/debian.ts';
import { leftUnder, Machine, ownFolder, putAway } from '../hosting/stand/machine.ts';
import { hostingPrograms } from '../hosting/stand/programs.ts';
import { type CutFindings, roundSteps, Written } from '../hosting/stand/written.ts';

/** Power cuts of host and standby (SAFETY H10). A cut is the mounted image copied, and the copy mounted elsewhere. */
let folder: string;
let machines: Machine[] = [];
let written: Written | null = null;

beforeAll(() => install(hostingPrograms), 300_000);
beforeEach(async () => {
  folder = ownFolder();
  machines = [];
  for (const name of ['host', 'standby']) machines.push(await Machine.make(name, folder));
});
afterEach(async () => {
  await written?.stop();
  written = null;
  await putAway(machines, folder);
  expect(leftUnder(folder)).toEqual([]);
});

it('loses no acknowledged push at a power cut between any two steps, and no row that a round promises', async () => {
  written = new Written(machines[0] as Machine, machines[1] as Machine, folder);
  await written.begin();
  // The second subvolume's first copy goes beside the first rounds: cuts begin when both are under way.
  while (written.acknowledged.size < 4) await sleep(50);
  const seen: string[] = [];
  let most = 0;
  const take = ({ missing, acknowledged, rows }: CutFindings, at: string): void => {
    expect(missing, at).toEqual([]);
    expect(rows, at).toBeGreaterThan(0);
    most = Math.max(most, acknowledged);
    seen.push(at);
  };
  for (const step of roundSteps) await written.cutPower(step, take);
  expect(seen).toHaveLength(2 * roundSteps.length);
  expect(most).toBeGreaterThan(10);
  expect(written.problems).toEqual([]);
});
