import { setTimeout as sleep } from 'node:timers/promises';
import { Machine, ownFolder, putAway } from '../hosting/stand/machine.ts';
import { manyRounds } from '../hosting/stand/many-rounds.ts';
import { hostingPrograms } from '../hosting/stand/programs.ts';
import { roundSteps, Written } from '../hosting/stand/written.ts';
import { install } from './debian.ts';
import { addPart, maxUnder, medianUnder, type Row, row } from './figures.ts';
import { forwardRows } from './forward-rows.ts';
import { gateRows } from './gate-rows.ts';
import { nameRows } from './name-rows.ts';

/** A cut stands before each of these in turn, and then at a moment that nobody chose. */
const steps = [...roundSteps, null];

/** Host and standby, put away whatever happens. */
async function withMachines(
  place: 'disk' | 'memory',
  use: (machines: [Machine, Machine], folder: string) => Promise<Row[]>,
): Promise<Row[]> {
  const folder = ownFolder(place);
  const machines: Machine[] = [];
  try {
    for (const name of ['host', 'standby']) machines.push(await Machine.make(name, folder));
    return await use([machines[0] as Machine, machines[1] as Machine], folder);
  } finally {
    await putAway(machines, folder);
  }
}

/** Each cut is looked at on both machines: what the pusher was told is there, is there. */
const cutRows = (cuts: number, say: (line: string) => void): Promise<Row[]> =>
  withMachines('disk', async ([host, standby], folder) => {
    const written = new Written(host, standby, folder);
    const missing: number[] = [];
    let acknowledged = 0;
    try {
      await written.begin();
      for (let cut = 0; cut < cuts; cut++)
        await written.cutPower(steps[cut % steps.length] ?? null, (found, at) => {
          missing.push(found.missing.length);
          acknowledged = Math.max(acknowledged, found.acknowledged);
          say(`cut ${cut + 1} of ${cuts}: ${at}: ${found.missing.length} missing of ${found.acknowledged}`);
        });
    } finally {
      await written.stop();
    }
    return [
      row({
        measure: 'acknowledged pushes missing after a power cut of host and standby',
        unit: 'pushes',
        ours: missing,
        targets: [maxUnder(0)],
        note: `${cuts} cuts, each looked at on both; ${acknowledged} pushes acknowledged in the end`,
      }),
    ];
  });

/** Two who push, each 150 to 450 ms after its last, PostgreSQL, Redis and files writing beside them, for some seconds. */
const pushRows = (seconds: number): Promise<Row[]> =>
  withMachines('disk', async ([host, standby], folder) => {
    const written = new Written(host, standby, folder);
    try {
      await written.begin();
      await sleep(seconds * 1000);
    } finally {
      await written.stop();
    }
    return [
      row({
        measure: 'a push with the hook, until it ends',
        unit: 'ms',
        ours: written.pushMs,
        targets: [medianUnder(300)],
        note: 'two push, each 150 to 450 ms after its last; a round begins at most every 500 ms; what two machines do is done by this one',
      }),
    ];
  });

/** Rounds of 5 s of the host's time, one right after the other, in memory: what grows with their number would show. */
export const roundRows = (count: number, say: (line: string) => void): Promise<Row[]> =>
  withMachines('memory', async (machines) => {
    const stretches = await manyRounds(machines, count, Math.max(1, Math.floor(count / 10)), ({ rounds, kept }) =>
      say(`${rounds} rounds of ${count}: ${kept.join(' and ')} kept`),
    );
    const [first, last] = [stretches[0], stretches.at(-1)];
    if (!first || !last) return [];
    return [
      row({
        measure: `the last tenth of ${count} rounds, thinning included, beside the first`,
        unit: 'ms',
        ours: last.ms,
        against: { name: 'the first tenth', values: first.ms },
        note: `${last.kept.join(' and ')} rounds kept, ${last.usedBytes.map((bytes) => Math.round(bytes / 2 ** 20)).join(' and ')} MiB in use`,
      }),
    ];
  });

/** `npm run bench -- prove`: the replica's truth at length, and what the gate costs (issue 9). 20 trials are 60 cuts, 40 s of pushes and 20,000 rounds. */
export async function proveRows(trials: number, only: readonly string[], say: (line: string) => void): Promise<Row[]> {
  const isWanted = (part: string): boolean => only.length === 0 || only.includes(part);
  const rows: Row[] = [];
  if (isWanted('gate')) await addPart(rows, 'gate', () => gateRows(trials, say), say);
  if (isWanted('forward')) await addPart(rows, 'forward', () => forwardRows(Math.min(trials, 10), say), say);
  if (isWanted('name')) await addPart(rows, 'name', () => nameRows(Math.min(trials, 10), say), say);
  if (only.length > 0 && only.every((part) => ['gate', 'forward', 'name'].includes(part))) return rows;
  install(hostingPrograms);
  if (isWanted('cuts')) await addPart(rows, 'cuts', () => cutRows(3 * trials, say), say);
  if (isWanted('pushes')) await addPart(rows, 'pushes', () => pushRows(2 * trials), say);
  if (isWanted('rounds')) await addPart(rows, 'rounds', () => roundRows(1000 * trials, say), say);
  return rows;
}
