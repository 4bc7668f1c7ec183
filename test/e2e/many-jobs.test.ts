import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connectGitlab, formMesh, pipelineEnd } from './mesh.ts';
import { Rig, sleep, type TestMachine, until } from './rig.ts';

const rig = new Rig();
const probe = join(rig.dir, 'timers');
const witness = join(rig.dir, 'witness');
let machine: TestMachine;

beforeAll(async () => {
  const gitlab = rig.practice();
  await gitlab.start();
  const code = fileURLToPath(new URL('./timers-probe.cjs', import.meta.url));
  const env = { kang: { NODE_OPTIONS: `--require ${code}`, TIMERS_PROBE: probe } };
  [machine] = (await formMesh(rig, ['kang'], { env })) as [TestMachine];
  await connectGitlab(machine, gitlab);
}, 180_000);
afterAll(() => rig.clean());

/** Each job writes its id to one file: what ran twice is seen there, whatever GitLab says. */
const jobs = (count: number): string =>
  [
    `.one: { tags: [process], variables: { GIT_STRATEGY: none }, script: ['echo $CI_JOB_ID >>${witness}'] }`,
    ...Array.from({ length: count }, (_, i) => `j${i}: { extends: .one }`),
  ].join('\n');

interface Held {
  descriptors: number;
  children: number;
  folders: number;
  timers: number;
}

async function held(): Promise<Held> {
  const pid = machine.process!.pid!;
  const lines = (): string[] => (existsSync(probe) ? readFileSync(probe, 'utf8').trim().split('\n') : []);
  const before = lines().length;
  machine.process!.kill('SIGUSR2');
  const said = JSON.parse(await until('the probe answers', () => lines()[before])) as Record<string, number>;
  const folders = readdirSync(machine.home, { recursive: true, withFileTypes: true }).filter((one) =>
    one.isDirectory(),
  );
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    children: readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).length,
    folders: folders.length,
    timers: said.Timeout ?? 0,
  };
}

async function all(name: string, count: number): Promise<{ id: number; status: string }[]> {
  const project = await rig.gitlab!.push(name, { '.gitlab-ci.yml': jobs(count) });
  await pipelineEnd(rig, project, 500_000);
  const pages = Array.from({ length: Math.ceil(count / 100) }, (_, i) => i + 1);
  const found = await Promise.all(
    pages.map((page) =>
      rig.gitlab!.api<{ id: number; status: string }[]>(
        `/projects/${project}/jobs?include_retried=true&per_page=100&page=${page}`,
      ),
    ),
  );
  return found.flat();
}

it('300 jobs in a row through one agent: each ran once, and nothing of them is left', async () => {
  // What a first job makes for good is there then.
  await all('first', 10);
  await sleep(3_000);
  const before = await held();
  const done = await all('many', 300);
  expect(done).toHaveLength(300);
  expect(done.filter(({ status }) => status !== 'success')).toEqual([]);
  const ran = readFileSync(witness, 'utf8').trim().split('\n').slice(10).map(Number);
  expect(ran.sort((a, b) => a - b)).toEqual(done.map(({ id }) => id).sort((a, b) => a - b));
  await until(
    'nothing of them is left',
    async () => {
      const now = await held();
      return (Object.keys(before) as (keyof Held)[]).every((what) => now[what] <= before[what]);
    },
    60_000,
  );
}, 600_000);
