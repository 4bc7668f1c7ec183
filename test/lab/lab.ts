import { randomUUID } from 'node:crypto';
import { Lan } from '../e2e/namespaces.ts';
import { until } from '../e2e/rig.ts';
import { makeTestImages } from '../root/test-image.ts';
import { type LabFile, LabRefusal, labPrefix, readLab, writeLab } from './lab-file.ts';
import { LabMachine, writeCommand } from './lab-machine.ts';

/** As many as may vote in a mesh. */
const maxMachines = 7;
const port = 8080;

/** A lab that is up, as one command of it sees it. */
export class Lab {
  readonly file: LabFile;
  readonly lan: Lan;
  readonly machines: readonly LabMachine[];

  constructor(file: LabFile, build = false) {
    this.file = file;
    this.lan = new Lan(file.machines.length, { prefix: labPrefix, build });
    this.machines = file.machines.map(
      ({ name }, i) => new LabMachine(file.name, name, i + 1, this.lan.namespace(i + 1)),
    );
  }

  static open(): Lab {
    return new Lab(readLab());
  }

  save(): void {
    writeLab(this.file);
  }

  machine(name: string | undefined): LabMachine {
    const found = this.machines.find((machine) => machine.name === name);
    const all = this.machines.map((machine) => machine.name).join(', ');
    if (!found) throw new LabRefusal(`${name ? `no machine is called ${name}.` : 'which machine?'} There are ${all}`);
    return found;
  }

  /** Its number on the LAN, from 1. */
  number(machine: LabMachine): number {
    return this.machines.indexOf(machine) + 1;
  }

  boot(machine: LabMachine): string {
    return this.file.machines[this.number(machine) - 1]?.boot ?? '';
  }

  isSuspended(machine: LabMachine): boolean {
    return this.file.suspended.includes(machine.name);
  }

  /** Machines whose agent can answer. */
  awake(): LabMachine[] {
    return this.machines.filter((machine) => !this.isSuspended(machine) && machine.agents().length > 0);
  }

  /** Brings back what a machine does after boot, as far as it does not run already. */
  async start(machine: LabMachine): Promise<void> {
    if (this.number(machine) === 1 && this.file.gitlab && machine.gitlabs().length === 0) {
      const { hostname, port: same } = new URL(this.file.gitlab.url);
      machine.startGitlab(hostname, Number(same));
      await machine.gitlabSays();
    }
    // The engine first, as the unit says (After=docker.service).
    if (!machine.engine.answers()) await machine.engine.start();
    if (machine.agents().length === 0) machine.startAgent(this.boot(machine));
    await until(`the agent of ${machine.name} is there`, () => machine.agents().length > 0, 10_000);
  }

  /** Faults of the network, put in force again after a machine's interfaces were made anew. */
  restoreFaults(machine: LabMachine): void {
    const number = (name: string): number => this.number(this.machine(name));
    if (this.file.unplugged.includes(machine.name)) this.lan.unplug(this.number(machine));
    for (const { from, to } of this.file.blocked) if (to === machine.name) this.lan.block(number(from), number(to));
  }

  newBoot(machine: LabMachine): void {
    const entry = this.file.machines[this.number(machine) - 1];
    if (entry) entry.boot = randomUUID();
    this.save();
  }
}

interface LabWish {
  /** No GitLab: the mesh shall host one. */
  isBare?: boolean;
  /** Done before a first program of any machine runs: what is mounted then, all its programs see. */
  disks?: (lab: Lab) => void;
}

/** Builds a lab of so many machines; resolves when all of them vote, know one leader, and read GitLab's queue. */
export async function buildLab(
  count: number,
  name: string,
  say: (line: string) => void,
  { isBare = false, disks = () => undefined }: LabWish = {},
): Promise<Lab> {
  if (!Number.isInteger(count) || count < 1 || count > maxMachines)
    throw new LabRefusal(`how many machines? 1 to ${maxMachines}: npm run lab -- up 3`);
  const machines = Array.from({ length: count }, (_, i) => ({
    name: i === 0 ? 'kang' : `desktop-${i}`,
    boot: randomUUID(),
  }));
  const file: LabFile = { version: 1, name, machines, gitlab: null, unplugged: [], suspended: [], blocked: [] };
  writeLab(file);
  const lab = new Lab(file, true);
  writeCommand(name);
  const kang = lab.machines[0] as LabMachine;
  disks(lab);
  if (!isBare) kang.startGitlab(lab.lan.address(1), port);
  await Promise.all(lab.machines.map((machine) => machine.engine.start()));
  for (const machine of lab.machines) machine.startAgent(lab.boot(machine), machine === kang ? ['--new', 'home'] : []);
  await Promise.all([putImage(lab), formMesh(lab, say, isBare)]);
  say(`${count} Docker Engines answer; jobs may use image: autogit-test:bash`);
  await until('all machines take jobs', async () => {
    const { nodes } = await kang.status();
    return nodes.length === count && nodes.every((row) => row.capacity !== null);
  });
  return lab;
}

/** An image for jobs, made of this computer's own programs: no registry is reachable from inside. */
async function putImage(lab: Lab): Promise<void> {
  const [first, ...others] = lab.machines.map((machine) => machine.engine);
  if (!first) return;
  const before = process.env.DOCKER_HOST;
  process.env.DOCKER_HOST = first.host;
  const { bash } = makeTestImages();
  if (before === undefined) delete process.env.DOCKER_HOST;
  else process.env.DOCKER_HOST = before;
  const { stdout: tar } = first.docker(['save', bash]);
  for (const engine of others) {
    const { status, stderr } = engine.docker(['load'], tar);
    if (status !== 0) throw new Error(`docker load: ${stderr}`);
  }
}

/** The first of them has begun a mesh; the others are let in. */
export async function formMesh(
  lab: Lab,
  say: (line: string) => void,
  isBare: boolean,
  machines = lab.machines,
): Promise<void> {
  const [kang, ...others] = machines as [LabMachine, ...LabMachine[]];
  const slow = 120_000;
  await until(`${kang.name} leads`, async () => (await kang.status()).leader, slow);
  for (const machine of others) {
    const waiting = await until(
      `${machine.name} waits for approval`,
      async () => (await kang.status()).waiting.find((row) => row.node === machine.name),
      slow,
    );
    await until(`${machine.name} shows the same words`, () => machine.said.includes(waiting.words));
    const { code, stderr } = await kang.agent.cli('approve', machine.name, '--words', waiting.words);
    if (code !== 0) throw new Error(`approve ${machine.name}: ${stderr}`);
    say(`${machine.name} let in: both sides show ${waiting.words}`);
  }
  const leader = await settled(machines);
  if (isBare) {
    say(`one mesh of ${machines.length}, ${leader} leads; no GitLab yet`);
    return;
  }
  lab.file.gitlab = await kang.gitlabSays();
  lab.save();
  kang.agent.env.PRACTICE_TOKEN = lab.file.gitlab.token;
  const connect = ['gitlab', 'connect', lab.file.gitlab.url, '--token-env', 'PRACTICE_TOKEN'];
  const { code, stderr } = await kang.agent.cli(...connect);
  if (code !== 0) throw new Error(`gitlab connect: ${stderr}`);
  say(`one mesh of ${lab.machines.length}, ${leader} leads; GitLab ${lab.file.gitlab.url}`);
}

/** All of them know the same leader and so many voters, all of them as it is. Returns the leader's name. */
export function settled(machines: readonly LabMachine[], voters = machines.length, limitMs = 120_000): Promise<string> {
  return until(
    'one leader that all know',
    async () => {
      const all = await Promise.all(machines.map((machine) => machine.status()));
      const leaders = new Set(all.map((status) => status.leader?.node));
      const leader = all[0]?.leader?.node;
      return leaders.size === 1 && leader && all.every((s) => s.quorum.voters.length >= voters) ? leader : null;
    },
    limitMs,
  );
}
