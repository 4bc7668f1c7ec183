import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connectGitlab, formMesh, settled } from '../../e2e/mesh.ts';
import { Lan } from '../../e2e/namespaces.ts';
import { asRoot, Rig, sleep, type TestGitlab, type TestMachine, until } from '../../e2e/rig.ts';
import { maxUnder, type Row, ratioAtMost, row } from '../figures.ts';
import { residentMiB } from '../process-cost.ts';
import type { BenchJob } from './jobs-stage.ts';

const names = ['kang', 'desktop-1', 'desktop-2'];
/** GitLab takes no pipeline of more jobs. */
const inPipeline = 500;

/** Jobs that each write one line that is theirs: to a file beside all machines, so that a run twice is seen whatever GitLab says. */
const pipeline = (count: number, witness: string, seconds: number): string =>
  [
    `.one: { tags: [process], retry: { max: 2, when: runner_system_failure }, variables: { GIT_STRATEGY: none }, script: ['echo $CI_JOB_ID $CI_JOB_NAME >>${witness}', 'sleep ${seconds}'] }`,
    ...Array.from({ length: count }, (_, i) => `j${i}: { extends: .one }`),
  ].join('\n');

async function allJobs(gitlab: TestGitlab, project: number): Promise<BenchJob[]> {
  const all: BenchJob[] = [];
  for (let page = 1; ; page++) {
    const some = await gitlab.api<BenchJob[]>(
      `/projects/${project}/jobs?include_retried=true&per_page=100&page=${page}`,
    );
    all.push(...some);
    if (some.length < 100) return all;
  }
}

/** By the witness: what began twice, each try for itself; and what has no good try that began. GitLab gives a try an id of its own. */
function countOf(witness: string, jobs: readonly BenchJob[]): { twice: number; lost: number } {
  const begun = new Map<string, number>();
  for (const line of readFileSync(witness, 'utf8').split('\n').filter(Boolean)) {
    const [id] = line.split(' ') as [string];
    begun.set(id, (begun.get(id) ?? 0) + 1);
  }
  // In several pipelines of one file a name is there several times.
  const named = ({ name, pipeline }: BenchJob): string => `${pipeline.id} ${name}`;
  const done = new Set(jobs.filter(({ status, id }) => status === 'success' && begun.has(`${id}`)).map(named));
  const wanted = new Set(jobs.map(named));
  return { twice: [...begun.values()].filter((times) => times > 1).length, lost: wanted.size - done.size };
}

const finished = (jobs: readonly BenchJob[]): boolean =>
  jobs.length > 0 && jobs.every(({ status }) => ['success', 'failed', 'canceled', 'skipped'].includes(status));

/** As when its power goes: all processes of its namespace at once. Where GitLab is, only the agent's. */
async function die(machine: TestMachine, isGitlabs: boolean): Promise<void> {
  if (!isGitlabs)
    for (const pid of execFileSync('ip', ['netns', 'pids', machine.namespace!], { encoding: 'utf8' }).split('\n'))
      if (pid !== '') process.kill(Number(pid), 'SIGKILL');
  await machine.kill('SIGKILL');
}

/** So many at once over three machines; a follower and then the leader die in the middle, and come back. */
export async function floodRows(count: number): Promise<Row[]> {
  const rig = new Rig();
  const lan = new Lan(3);
  try {
    const gitlab = rig.practice(lan.namespace(1));
    await gitlab.start(lan.address(1));
    const args = Object.fromEntries(names.map((name) => [name, ['--executor', 'process', ...asRoot]]));
    const machines = await formMesh(rig, names, { lan, args });
    await connectGitlab(machines[0]!, gitlab);
    const witness = `${rig.dir}/witness`;
    const began = performance.now();
    const project = await gitlab.push('flood', { '.gitlab-ci.yml': pipeline(Math.min(count, inPipeline), witness, 1) });
    const doneOf = async (): Promise<number> =>
      (await allJobs(gitlab, project)).filter(({ status }) => status === 'success').length;
    const total = Math.min(count, inPipeline);
    await until('a quarter is done', async () => (await doneOf()) >= total / 4, 900_000);
    const kill = async (which: 'leader' | 'other'): Promise<void> => {
      const leader = await settled(machines);
      const victim = machines.find((one) =>
        which === 'leader' ? one.name === leader : one.name !== leader && one !== machines[0],
      );
      await die(victim!, victim === machines[0]);
      await sleep(15_000);
      victim!.join('--executor', 'process', ...asRoot);
      await settled(machines);
    };
    await kill('other');
    await until('half of it is done', async () => (await doneOf()) >= total / 2, 900_000);
    await kill('leader');
    await until('all are done', async () => finished(await allJobs(gitlab, project)), 1_800_000);
    const seconds = (performance.now() - began) / 1000;
    const { twice, lost } = countOf(witness, await allJobs(gitlab, project));
    const measure = `${total} jobs at once, 3 machines, a follower's and the leader's agent killed`;
    const note = `a machine has as many in flight as it has cores; all of it took ${Math.round(seconds)} s`;
    return [
      row({ measure: `${measure}: lost`, unit: 'jobs', ours: [lost], targets: [maxUnder(0)], note }),
      row({ measure: `${measure}: begun twice`, unit: 'jobs', ours: [twice], targets: [maxUnder(0)] }),
    ];
  } finally {
    await rig.clean();
    lan.down();
  }
}

/** So many, one pipeline after the other, through one agent: none lost, none twice, and its memory stays. */
export async function rowOfJobs(count: number): Promise<Row[]> {
  const rig = new Rig();
  try {
    const gitlab = rig.practice();
    await gitlab.start();
    const [machine] = (await formMesh(rig, ['kang'])) as [TestMachine];
    await connectGitlab(machine, gitlab);
    const witness = `${rig.dir}/witness`;
    // A tenth of them, 500 of 5,000: then the agent has made and freed whatever a job needs.
    const early = Math.max(1, Math.round(count / 10));
    const size = Math.min(inPipeline, early);
    const project = await gitlab.push('row', { '.gitlab-ci.yml': pipeline(size, witness, 0) });
    const pid = machine.process!.pid!;
    const memory: number[] = [];
    let jobs: BenchJob[] = [];
    for (let done = 0; done < count; done += size) {
      if (done > 0) await gitlab.runPipeline(project);
      const wanted = done + size;
      jobs = await until(
        `${wanted} jobs are done`,
        async () => {
          const all = await allJobs(gitlab, project);
          return all.length >= wanted && finished(all) ? all : null;
        },
        1_800_000,
      );
      await sleep(2_000);
      memory.push(residentMiB(pid));
    }
    const { twice, lost } = countOf(witness, jobs);
    const measure = `${jobs.length} jobs in a row through one agent`;
    return [
      row({ measure: `${measure}: lost`, unit: 'jobs', ours: [lost], targets: [maxUnder(0)] }),
      row({ measure: `${measure}: begun twice`, unit: 'jobs', ours: [twice], targets: [maxUnder(0)] }),
      row({
        ...{ measure: `${measure}: resident memory at the end`, unit: 'MiB', ours: [memory.at(-1)!] },
        against: { name: `after ${early}`, values: [memory[0]!] },
        targets: [ratioAtMost(1.1)],
      }),
    ];
  } finally {
    await rig.clean();
  }
}
