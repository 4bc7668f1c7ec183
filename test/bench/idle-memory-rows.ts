import { join } from 'node:path';
import { formMesh, settled } from '../e2e/mesh.ts';
import { bin, Rig, sleep, type TestMachine } from '../e2e/rig.ts';
import type { CoreStage } from './core-rows.ts';
import { medianUnder, type Row, row } from './figures.ts';
import { type Cost, costOf } from './process-cost.ts';

const names = ['kang', 'desktop-1', 'desktop-2'];
/** Until V8 has thrown away what a start leaves behind. */
const calmMs = 40_000;
const sampleMs = 3_000;

interface Idle {
  leader: Cost[];
  follower: Cost[];
}

/** A mesh of three of one build, on loopback, asked nothing. Its code lies compiled, as after any but a build's first start. */
async function mesh(rig: Rig, program: string, cache: string): Promise<TestMachine[]> {
  const env = Object.fromEntries(names.map((name) => [name, { XDG_CACHE_HOME: cache }]));
  return formMesh(rig, names, { bin: program, env });
}

async function compiled(program: string, cache: string): Promise<void> {
  const rig = new Rig();
  try {
    await mesh(rig, program, cache);
    // It is kept after 2 s (deploy/bin.cjs).
    await sleep(3_000);
  } finally {
    await rig.clean();
  }
}

async function sample(machines: TestMachine[], leader: string, into: Idle): Promise<void> {
  const costs = await costOf(
    machines.map((machine) => machine.process?.pid as number),
    sampleMs,
  );
  for (const [index, cost] of costs.entries())
    into[machines[index]?.name === leader ? 'leader' : 'follower'].push(cost);
}

/** This build and the one of before, each a mesh of three, in turn while the other one idles beside it. */
export async function idleMemoryRows({ options, folder, before }: CoreStage): Promise<Row[]> {
  const sides = [
    { program: bin, rig: new Rig(), idle: { leader: [], follower: [] } as Idle },
    { program: before(), rig: new Rig(), idle: { leader: [], follower: [] } as Idle },
  ];
  try {
    const meshes: { machines: TestMachine[]; leader: string; idle: Idle }[] = [];
    for (const { program, rig, idle } of sides) {
      const cache = join(folder, 'cache');
      await compiled(program, cache);
      const machines = await mesh(rig, program, cache);
      meshes.push({ machines, leader: await settled(machines), idle });
    }
    await sleep(calmMs);
    for (let trial = 0; trial < options.trials; trial++)
      for (const { machines, leader, idle } of meshes) await sample(machines, leader, idle);
  } finally {
    for (const { rig } of sides) await rig.clean();
  }
  const [ours, theirs] = sides.map(({ idle }) => idle) as [Idle, Idle];
  const memory = ({ leader, follower }: Idle): number[] => [...leader, ...follower].map(({ memoryMiB }) => memoryMiB);
  const cpu = (who: keyof Idle): Row =>
    row({
      measure: `idle CPU of the ${who}, 3 nodes`,
      unit: '% of a core',
      ours: ours[who].map((cost) => cost.cpu),
      against: { name: options.before, values: theirs[who].map((cost) => cost.cpu) },
    });
  return [
    row({
      measure: 'resident memory of an idle agent, 3 nodes',
      unit: 'MiB',
      ours: memory(ours),
      against: { name: options.before, values: memory(theirs) },
      targets: [medianUnder(64)],
    }),
    cpu('leader'),
    cpu('follower'),
  ];
}
