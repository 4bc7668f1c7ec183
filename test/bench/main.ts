import { writeFileSync } from 'node:fs';
import { formMesh, pipelineEnd, settled } from '../e2e/mesh.ts';
import { Lan } from '../e2e/namespaces.ts';
import { Rig, sleep, type TestMachine, until } from '../e2e/rig.ts';
import { cpuSeconds, machineLine, type Row, residentMiB, row, table } from './figures.ts';

const trials = 12;
const say = (line: string): void => void process.stderr.write(`${line}\n`);

interface Bench {
  rig: Rig;
  machines: TestMachine[];
  rejoin(machine: TestMachine): void;
}

const newest = (machine: TestMachine, event: string): number => machine.events(event).at(-1)?.time ?? 0;

/** kill -9 of the leader; ms until the last survivor has learnt the new one. Then the dead one comes back: ms to be in. */
async function failover({ machines, rejoin }: Bench): Promise<{ lead: number; back: number }> {
  const name = await settled(machines);
  const leader = machines.find((machine) => machine.name === name) as TestMachine;
  const others = machines.filter((machine) => machine !== leader);
  await sleep(500 + Math.random() * 1000);
  const killed = Date.now();
  await leader.kill('SIGKILL');
  await until('all others know the new leader', () =>
    others.every((machine) => newest(machine, 'leader-elected') >= killed),
  );
  const lead = Math.max(...others.map((machine) => newest(machine, 'leader-elected'))) - killed;
  const began = Date.now();
  rejoin(leader);
  await until('the old leader is back', () => newest(leader, 'leader-elected') >= began);
  return { lead, back: newest(leader, 'leader-elected') - began };
}

/** ms from GitLab's answer to "make a pipeline" until the first command of its script ran, by the script's own clock. */
async function firstByte(rig: Rig, project: number): Promise<number> {
  const gitlab = rig.gitlab!;
  await gitlab.api(`/projects/${project}/pipeline?ref=main`, { method: 'POST', body: JSON.stringify({ ref: 'main' }) });
  const pending = Date.now();
  const { jobs } = await pipelineEnd(rig, project);
  const began = Number(/^began (\d+)/m.exec(await gitlab.trace(project, jobs[0]!.id))?.[1]) / 1e6;
  return began - pending;
}

async function jobsBench(bench: Bench, image: string | null): Promise<number[]> {
  const gitlab = bench.rig.gitlab!;
  const job = `${image ? `image: ${image}, ` : ''}script: ['echo began $(date +%s%N)']`;
  const project = await gitlab.push(`bench-${image ? 'docker' : 'process'}`, { '.gitlab-ci.yml': `job: { ${job} }\n` });
  await pipelineEnd(bench.rig, project);
  const values: number[] = [];
  for (let i = 0; i < trials; i++) values.push(await firstByte(bench.rig, project));
  return values;
}

async function idle({ machines }: Bench): Promise<Row[]> {
  const leader = await settled(machines);
  await sleep(5_000);
  const share: Record<'leader' | 'follower', number[]> = { leader: [], follower: [] };
  const resident: number[] = [];
  for (let i = 0; i < 10; i++) {
    const before = machines.map((machine) => cpuSeconds(machine.process!.pid!));
    const began = performance.now();
    await sleep(3_000);
    const seconds = (performance.now() - began) / 1000;
    for (const [index, machine] of machines.entries()) {
      const used = ((cpuSeconds(machine.process!.pid!) - before[index]!) / seconds) * 100;
      share[machine.name === leader ? 'leader' : 'follower'].push(used);
      resident.push(residentMiB(machine.process!.pid!));
    }
  }
  return [
    row('idle CPU of the leader, 3 nodes', '% of a core', share.leader),
    row('idle CPU of a follower, 3 nodes', '% of a core', share.follower),
    row('resident memory of an agent, 3 nodes', 'MiB', resident),
  ];
}

async function main(): Promise<void> {
  const file = process.argv.includes('--json') ? process.argv[process.argv.indexOf('--json') + 1] : null;
  const rig = new Rig();
  const lan = new Lan(3);
  const rows: Row[] = [];
  try {
    const gitlab = rig.practice(lan.namespace(1));
    await gitlab.start(lan.address(1));
    const machines = await formMesh(rig, ['kang', 'desktop-1', 'desktop-2'], { lan });
    const bench: Bench = { rig, machines, rejoin: (machine) => machine.join('--executor', 'process') };
    machines[0]!.env.PRACTICE_TOKEN = gitlab.token;
    say('idle …');
    rows.push(...(await idle(bench)));
    await machines[0]!.cli('gitlab', 'connect', gitlab.url, '--token-env', 'PRACTICE_TOKEN');
    say('jobs …');
    rows.push(row('job pending -> first script byte, process', 'ms', await jobsBench(bench, null)));
    say('failover …');
    const trialsDone: { lead: number; back: number }[] = [];
    for (let i = 0; i < trials; i++) trialsDone.push(await failover(bench));
    rows.push(
      row(
        'leader kill -9 -> new leader known by all',
        'ms',
        trialsDone.map((trial) => trial.lead),
      ),
    );
    rows.push(
      row(
        'start of an agent -> in the mesh',
        'ms',
        trialsDone.map((trial) => trial.back),
      ),
    );
  } finally {
    await rig.clean();
    lan.down();
  }
  console.log(`${table(rows)}\n${machineLine()}`);
  if (file) writeFileSync(file, `${JSON.stringify(rows, null, 2)}\n`);
}

await main();
