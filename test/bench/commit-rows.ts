import { sleep } from '../e2e/rig.ts';
import { nextValue } from './agents.ts';
import { type Row, ratioAtLeast, ratioAtMost, row } from './figures.ts';
import { KeptSocket } from './kept-socket.ts';
import type { Stage } from './stage.ts';

const inFlight = 64;
const roundMs = 4_000;

/** Decisions one after the other: asked of the leader, until a watch of another machine's settings shows it. */
async function ourLatency(stage: Stage, count: number): Promise<number[]> {
  const leader = await stage.agents.leader();
  const [at, other] = [leader, stage.agents.others(leader)[0] as typeof leader].map(
    ({ machine }) => new KeptSocket(machine.home),
  ) as [KeptSocket, KeptSocket];
  const values: number[] = [];
  for (let i = 0; i < count; i++) {
    const value = nextValue();
    const shown = other.shows(value, 5_000);
    // The watch stands before the change is asked, as etcd's does all the time.
    await sleep(3);
    const began = performance.now();
    const asked = at.set(value);
    await shown;
    values.push(performance.now() - began);
    await asked;
  }
  at.close();
  other.close();
  return values;
}

async function etcdLatency({ etcd }: Stage, count: number): Promise<number[]> {
  const leader = await etcd.leader();
  const waiting = new Map<string, (at: number) => void>();
  const close = await etcd.watch((leader + 1) % 3, 'decision', (value, at) => waiting.get(value)?.(at));
  const values: number[] = [];
  for (let i = 0; i < count; i++) {
    const value = String(nextValue());
    const began = performance.now();
    const seen = new Promise<number>((resolve) => waiting.set(value, resolve));
    const asked = etcd.put(leader, 'decision', value);
    values.push((await Promise.race([seen, sleep(5_000).then(() => Number.NaN)])) - began);
    await asked;
    await sleep(3);
  }
  close();
  return values;
}

/** How many of these end in a second when 64 are always under way. */
async function perSecond(decide: () => Promise<boolean>): Promise<number> {
  const end = performance.now() + roundMs;
  let done = 0;
  const one = async (): Promise<void> => {
    while (performance.now() < end) if (await decide()) done += 1;
  };
  const began = performance.now();
  await Promise.all(Array.from({ length: inFlight }, one));
  return done / ((performance.now() - began) / 1000);
}

async function ourThroughput(stage: Stage): Promise<number> {
  const socket = new KeptSocket((await stage.agents.leader()).machine.home);
  const rate = await perSecond(async () => (await socket.set(nextValue())).state === 'done');
  socket.close();
  return rate;
}

/** Row 7. */
export async function commitRows(stage: Stage): Promise<Row[]> {
  const { etcd, trials, say } = stage;
  const ours: number[] = [];
  const theirs: number[] = [];
  const rate: number[] = [];
  const theirRate: number[] = [];
  for (let round = 0; round < Math.min(trials, 6); round++) {
    ours.push(...(await ourLatency(stage, 50)));
    rate.push(await ourThroughput(stage));
    await etcd.thaw();
    theirs.push(...(await etcdLatency(stage, 50)));
    const leader = await etcd.leader();
    theirRate.push(
      await perSecond(async () => {
        await etcd.put(leader, `key${nextValue() % 1000}`, 'x'.repeat(256));
        return true;
      }),
    );
    etcd.freeze();
    say(`  round ${round + 1}: ours ${rate.at(-1)?.toFixed(0)}/s, etcd ${theirRate.at(-1)?.toFixed(0)}/s`);
  }
  return [
    row({
      measure: 'durable decision -> the other machine has it',
      unit: 'ms',
      ours,
      against: { name: 'etcd put -> watch at a follower', values: theirs },
      targets: [ratioAtMost(1.3)],
      note: "ours is found by a watch of the other agent's settings, the peer's by its watch",
    }),
    row({
      measure: `decisions a second, ${inFlight} in flight`,
      unit: '1/s',
      ours: rate,
      against: { name: 'etcd puts', values: theirRate },
      targets: [ratioAtLeast(1)],
    }),
  ];
}
