import { sleep } from '../e2e/rig.ts';
import { type Row, ratioAtMost, row } from './figures.ts';
import { costOf } from './process-cost.ts';
import type { Stage } from './stage.ts';

const sampleMs = 5_000;

/** Row 8: nobody asks anything; the etcd that is not measured stands still. */
export async function idleRows(stage: Stage): Promise<Row[]> {
  const { agents, etcd } = stage;
  const ours = { leader: [] as number[], follower: [] as number[], memory: [] as number[] };
  const theirs = { leader: [] as number[], follower: [] as number[], memory: [] as number[] };
  const leader = await agents.leader();
  await sleep(5_000);
  for (let round = 0; round < Math.min(stage.trials, 10); round++) {
    for (const [index, cost] of (await costOf(agents.pids(), sampleMs)).entries()) {
      ours[agents.all[index] === leader ? 'leader' : 'follower'].push(cost.cpu);
      ours.memory.push(cost.memoryMiB);
    }
    await etcd.thaw();
    const leads = await etcd.leader();
    const pids = [0, 1, 2].map((member) => etcd.pid(member));
    for (const [member, cost] of (await costOf(pids, sampleMs)).entries()) {
      theirs[member === leads ? 'leader' : 'follower'].push(cost.cpu);
      theirs.memory.push(cost.memoryMiB);
    }
    etcd.freeze();
  }
  const cpu = (who: 'leader' | 'follower'): Row =>
    row({
      measure: `idle CPU of the ${who}, 3 nodes`,
      unit: '% of a core',
      ours: ours[who],
      against: { name: `etcd ${who}`, values: theirs[who] },
      targets: [ratioAtMost(who === 'leader' ? 1.4 : 1.2)],
    });
  return [
    cpu('leader'),
    cpu('follower'),
    row({
      measure: 'resident memory of an idle agent, 3 nodes',
      unit: 'MiB',
      ours: ours.memory,
      against: { name: 'etcd', values: theirs.memory },
      targets: [ratioAtMost(4)],
    }),
  ];
}
