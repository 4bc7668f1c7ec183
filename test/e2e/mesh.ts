import type { Lan } from './namespaces.ts';
import { asRoot, type Rig, type TestGitlab, type TestMachine, until } from './rig.ts';

export interface MeshOptions {
  lan?: Lan;
  env?: Record<string, Record<string, string>>;
  args?: Record<string, string[]>;
  /** Another version of the program, for all of them. */
  bin?: string;
}

/** On one computer without namespaces mDNS would meet other tests' agents: these listen on loopback and are told. */
async function joinArgs(rig: Rig, index: number, lan: Lan | undefined): Promise<string[]> {
  if (lan) return [];
  const local = ['--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns'];
  if (index === 0) return local;
  const first = await until('the first machine', async () => {
    const status = await rig.machines[0]?.status();
    return status?.nodes.find((row) => row.self)?.address;
  });
  return [...local, '--peer', first];
}

/**
 * Founds a mesh with the first machine and lets the others in as a person would: by comparing words. Resolves when all
 * of them vote and know the same leader.
 */
export async function formMesh(rig: Rig, names: string[], options: MeshOptions = {}): Promise<TestMachine[]> {
  const machines: TestMachine[] = [];
  for (const [index, name] of names.entries()) {
    const namespace = options.lan?.namespace(index + 1) ?? null;
    const machine = rig.machine(name, namespace, options.env?.[name]);
    machines.push(machine);
    if (options.bin) machine.bin = options.bin;
    const more = options.args?.[name] ?? ['--executor', 'process', ...asRoot];
    machine.join(...(index === 0 ? ['--new', 'home'] : []), ...more, ...(await joinArgs(rig, index, options.lan)));
    if (index === 0) await until('the founder leads', async () => (await machine.status()).leader);
  }
  for (const machine of machines.slice(1)) await letIn(machines[0] as TestMachine, machine);
  await settled(machines);
  return machines;
}

/** Compares the words on both sides, then approves on `member`. */
export async function letIn(member: TestMachine, newcomer: TestMachine): Promise<void> {
  const waiting = await until(`${newcomer.name} waits for approval`, async () =>
    (await member.status()).waiting.find((row) => row.node === newcomer.name),
  );
  await until(`${newcomer.name} shows the same words`, () => newcomer.output.includes(waiting.words));
  const { code, stderr } = await member.cli('approve', newcomer.name, '--words', waiting.words);
  if (code !== 0) throw new Error(`approve ${newcomer.name}: ${stderr}`);
}

/** All of them are voters of one mesh and know the same leader. */
export async function settled(machines: TestMachine[]): Promise<string> {
  return until('one leader that all know, and all vote', async () => {
    const all = await Promise.all(machines.map((machine) => machine.status()));
    const leaders = new Set(all.map((status) => status.leader?.node));
    const voters = all.every((status) => status.quorum.voters.length === machines.length);
    const leader = all[0]?.leader?.node;
    return leaders.size === 1 && leader && voters ? leader : null;
  });
}

interface Job {
  id: number;
  name: string;
  status: string;
  failure_reason: string | null;
}

/** Waits until a project's newest pipeline has ended; returns its status and all jobs, retried ones included. */
export async function pipelineEnd(rig: Pick<Rig, 'gitlab'>, project: number, timeoutMs = 120_000) {
  const gitlab = rig.gitlab;
  if (!gitlab) throw new Error('no practice GitLab');
  const pipeline = await until(
    'the pipeline has ended',
    async () => {
      const [newest] = await gitlab.api<{ id: number; status: string }[]>(`/projects/${project}/pipelines`);
      return newest && ['success', 'failed', 'canceled', 'skipped'].includes(newest.status) ? newest : null;
    },
    timeoutMs,
  );
  const path = `/projects/${project}/pipelines/${pipeline.id}/jobs?include_retried=true&per_page=100`;
  return { status: pipeline.status, jobs: await gitlab.api<Job[]>(path) };
}

export async function runningJobs(rig: Rig, project: number): Promise<Job[]> {
  return (await rig.gitlab?.api<Job[]>(`/projects/${project}/jobs?scope[]=running`)) ?? [];
}

/** Lines that a counting script wrote, in the order of the trace. */
export const ticks = (trace: string): number[] =>
  [...trace.matchAll(/^tick (\d+)\r?$/gm)].map((match) => Number(match[1]));

/** A script that counts to `n`, by default five a second, so that a gap or a repetition in its trace shows. */
export const counting = (n: number, seconds = 0.2): string =>
  `i=1; while [ $i -le ${n} ]; do echo "tick $i"; i=$((i+1)); sleep ${seconds}; done`;
export const upTo = (n: number): number[] => Array.from({ length: n }, (_, index) => index + 1);

/** By the machine's own command line; throws what that says where it is refused. */
export async function connectGitlab(machine: TestMachine, { url, token }: TestGitlab): Promise<void> {
  machine.env.PRACTICE_TOKEN = token;
  const { code, stderr } = await machine.cli('gitlab', 'connect', url, '--token-env', 'PRACTICE_TOKEN');
  if (code !== 0) throw new Error(`gitlab connect: ${stderr}`);
}
