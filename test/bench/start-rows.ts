import { join } from 'node:path';
import { createClient } from '../../node/local-api/socket-client.ts';
import type { Lan } from '../e2e/namespaces.ts';
import { asRoot, Rig, sleep, type TestMachine } from '../e2e/rig.ts';
import { EventTail } from './event-tail.ts';
import { maxUnder, medianUnder, type Row, ratioAtMost, row } from './figures.ts';
import { Serf } from './serf.ts';

const names = ['kang', 'desktop-1', 'desktop-2'];

/** When this agent first showed all of them, epoch ms. It is not asked before it has said that it is in. */
async function fullAt(machine: TestMachine, events: EventTail): Promise<number> {
  const tooLate = performance.now() + 60_000;
  while (events.since(0, 'leader-elected').length === 0) {
    if (performance.now() > tooLate) throw new Error(`${machine.name} did not get in`);
    await sleep(10);
  }
  const client = createClient(machine.home);
  for (;;) {
    const status = await client.status().catch(() => null);
    const known = status?.snapshot.nodes.filter((node) => node.state !== 'gone').length ?? 0;
    if (known === names.length && status?.snapshot.leader) return Date.now();
    // Each answer costs the agent some milliseconds of the time that is measured.
    await sleep(25);
  }
}

/**
 * Three agents that were never in a mesh, started at once; the founder holds a pair window open. They go on for `liveMs`
 * when all are in.
 */
async function ourStart(lan: Lan, liveMs = 0): Promise<{ spawn: number; network: number }> {
  const rig = new Rig();
  try {
    const machines = names.map((name, index) => rig.machine(name, lan.namespace(index + 1)));
    const tails = machines.map((machine) => new EventTail(join(machine.home, 'agent.log')));
    const began = Date.now();
    for (const [index, machine] of machines.entries())
      machine.join('--executor', 'process', ...asRoot, ...(index === 0 ? ['--new', 'home', '--pair', '10m'] : []));
    const all = Promise.all(machines.map((machine, index) => fullAt(machine, tails[index] as EventTail)));
    const tooLong = sleep(90_000).then(() => null);
    const at = await Promise.race([all, tooLong]);
    if (at === null) return { spawn: Number.NaN, network: Number.NaN };
    const end = Math.max(...at);
    const up = tails.map((events) => events.since(0, 'network-started').at(0)?.time ?? Number.NaN);
    await sleep(liveMs);
    return { spawn: end - began, network: end - Math.max(...up) };
  } finally {
    await rig.clean();
  }
}

/** Row 5. Must run while no other agent of ours is on the LAN: the fresh ones would meet it. */
export async function startRows(lan: Lan, starts: number, say: (line: string) => void): Promise<Row[]> {
  const ours: { spawn: number; network: number }[] = [];
  const theirs: number[] = [];
  // A build that was never started here is compiled first, and keeps its code after 2 s (deploy/bin.cjs). Serf comes compiled.
  const first = await ourStart(lan, 3_000);
  say(`  the first start of this build: ${JSON.stringify(first)}`);
  const note = `the first start of a build, which compiles it, is not counted: ${first.spawn} ms from spawn`;
  for (let start = 0; start < starts; start++) {
    ours.push(await ourStart(lan));
    const serf = new Serf(lan, 'mdns');
    theirs.push(await serf.formed(150_000));
    await serf.stop();
    say(`  ${start + 1}/${starts}: ours ${JSON.stringify(ours.at(-1))}, serf ${theirs.at(-1)?.toFixed(0)} ms`);
  }
  const against = { name: 'serf -discover', values: theirs };
  return [
    row({
      measure: "three fresh agents -> full membership everywhere, from the last network's start",
      unit: 'ms',
      ours: ours.map(({ network }) => network),
      against,
      targets: [ratioAtMost(3)],
    }),
    row({
      measure: 'three fresh agents -> full membership everywhere, from spawn',
      unit: 'ms',
      ours: ours.map(({ spawn }) => spawn),
      against,
      targets: [medianUnder(1500), maxUnder(4000)],
      note,
    }),
  ];
}
