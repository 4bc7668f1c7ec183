import { sleep, type TestMachine } from '../e2e/rig.ts';
import { type Row, ratioAtMost, row } from './figures.ts';
import { leaderAndOther, type PageStage } from './page-stage.ts';
import { PageViewers } from './page-viewers.ts';
import { costOf } from './process-cost.ts';

/** How long each look at the CPU lasts, and how long the agent has before it for what opening costs. */
const sampleMs = 6_000;
const calmMs = 1_500;

/** The agent that serves them, with no page open, with one and with twenty, one after the other in each round. */
async function costAt(machine: TestMachine, rounds: number): Promise<{ cpu: Record<number, number[]>; told: string }> {
  const viewers = new PageViewers(machine);
  const cpu: Record<number, number[]> = { 0: [], 1: [], 20: [] };
  const told = new Map<string, { events: number; bytes: number }>();
  try {
    // The first one loads what pages need.
    await viewers.open(1);
    await viewers.close();
    for (let round = 0; round < rounds; round++)
      for (const count of [0, 1, 20]) {
        if (count > 0) await viewers.open(count);
        await sleep(calmMs);
        viewers.told.clear();
        const [cost] = await costOf([machine.process?.pid as number], sampleMs);
        cpu[count]?.push(cost?.cpu ?? Number.NaN);
        if (count === 1)
          for (const [event, { events, bytes }] of viewers.told) {
            const so = told.get(event) ?? { events: 0, bytes: 0 };
            told.set(event, { events: so.events + events, bytes: so.bytes + bytes });
          }
        await viewers.close();
      }
  } finally {
    await viewers.close();
  }
  return { cpu, told: toldWords(told, (rounds * sampleMs) / 1000) };
}

/** `status 6.1 KiB 1.2 times a second, jobs …`: what one page is told, how large and how often. */
const toldWords = (told: ReadonlyMap<string, { events: number; bytes: number }>, seconds: number): string =>
  [...told]
    .map(([event, { events, bytes }]) => {
      const [size, often] = [bytes / events / 1024, events / seconds];
      return `${event} ${size.toFixed(1)} KiB ${often.toFixed(2)} times a second`;
    })
    .join(', ');

/** What pages that are open cost the agent that serves them: at the machine that leads, and at one that asks it for the jobs. */
export async function costRows(stage: PageStage): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [who, machine] of leaderAndOther(stage)) {
    const { cpu, told } = await costAt(machine, Math.min(10, stage.trials));
    for (const [count, most] of [
      [1, 1.3],
      [20, 2],
    ] as const)
      rows.push(
        row({
          measure: `CPU of ${who} with ${count === 1 ? 'one page' : `${count} pages`} open, 7 machines, 200 jobs`,
          unit: '% of a core',
          ours: cpu[count] ?? [],
          against: { name: 'with none', values: cpu[0] ?? [] },
          targets: [ratioAtMost(most)],
          note: `one page is told: ${told}`,
        }),
      );
  }
  return rows;
}
