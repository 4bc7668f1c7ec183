import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { counting, pipelineEnd, ticks, upTo } from '../../e2e/mesh.ts';
import { sleep, TestGitlab, until } from '../../e2e/rig.ts';
import { PushingUsers } from '../../root/pushing-users.ts';
import { cutPower, start } from '../faults.ts';
import type { LabMachine } from '../lab-machine.ts';
import { demand, type HostedLab, image, seconds } from './hosted-lab.ts';
import { diskOf, mountDisk } from './lab-disks.ts';
import { addressesIn, ProbeWriters, whatTwoDid } from './probe-writers.ts';
import { well } from './well.ts';
import type { WholeData } from './whole-data.ts';

const run = promisify(execFile);

/** ms of pushes before anything happens: longer than the interval of the rounds and one of them, so that nothing of `before` may be lost. */
const calmMs = 12_000;

/** Where GitLab's data lie on a machine that hosts it, or did. */
const placeOn = async (hosted: HostedLab, machine: LabMachine): Promise<string> =>
  machine === hosted.kang ? join(diskOf(machine), 'gitlab') : hosted.copiesFolder(machine);

/** By the door of the machine at which somebody sits. */
const doorOf = (hosted: HostedLab, machine: LabMachine): string =>
  hosted.doors[hosted.lab.number(machine) - 1] as string;

/** It runs there now; who asks does so at that machine's own door. */
export async function runsOn(hosted: HostedLab, machine: LabMachine, desk = machine): Promise<void> {
  hosted.runsOn(machine, await placeOn(hosted, machine));
  hosted.gitlab.url = doorOf(hosted, desk);
}

/** Everything at once, the cable first. */
export async function cutOff(hosted: HostedLab, machine: LabMachine): Promise<void> {
  await cutPower(hosted.lab, machine);
}

/** Its power is back: its disk, a new boot, engine and agent. */
export async function powerOn(hosted: HostedLab, machine: LabMachine): Promise<void> {
  mountDisk(machine);
  await start(hosted.lab, machine);
}

/**
 * What goes on in a house while something happens to GitLab's machine: somebody pushes all the time at another one, a job counts there, and
 * writers ask at every machine's door and at each container's own address.
 */
export class Life {
  readonly hosted: HostedLab;
  /** It hosted when this began. */
  readonly host: LabMachine;
  /** Where they sit. */
  readonly desk: LabMachine;
  readonly users: PushingUsers;
  readonly epoch: number;
  readonly before: WholeData;
  readonly #name: string;
  readonly #gitlab: TestGitlab;
  readonly #project: number;
  readonly #count: number;
  readonly #writers: ProbeWriters<LabMachine>;
  readonly #looks: NodeJS.Timeout;
  readonly #folder: string;
  #at = 0;

  private constructor(own: {
    hosted: HostedLab;
    name: string;
    host: LabMachine;
    desk: LabMachine;
    folder: string;
    epoch: number;
    gitlab: TestGitlab;
    project: number;
    count: number;
    before: WholeData;
    users: PushingUsers;
  }) {
    this.hosted = own.hosted;
    this.#name = own.name;
    this.host = own.host;
    this.desk = own.desk;
    this.epoch = own.epoch;
    this.before = own.before;
    this.users = own.users;
    this.#gitlab = own.gitlab;
    this.#project = own.project;
    this.#count = own.count;
    this.#folder = own.folder;
    const { lab, doors, gitlab } = own.hosted;
    this.#writers = new ProbeWriters({
      ...{ machines: lab.machines, doors, token: gitlab.token, project: 'root/rounds' },
      addressesOn: ({ engine }) => addressesIn(engine.host, image),
    });
    this.#looks = setInterval(() => this.#writers.look(), 2000);
    this.#writers.look();
  }

  /** `jobSeconds`: so long the job counts, at half a second each. */
  static async begin(hosted: HostedLab, name: string, jobSeconds = 90): Promise<Life> {
    const { lab } = hosted;
    await hosted.bringImageToAll();
    const host = lab.machine(await well(hosted));
    // Any but the host, and the last of them, so that the other one is free to fall as well.
    const desk = lab.machines.findLast((machine) => machine !== host) as LabMachine;
    await runsOn(hosted, host, desk);
    const gitlab = new TestGitlab('', desk.namespace);
    Object.assign(gitlab, { url: hosted.gitlab.url, token: hosted.gitlab.token });
    const count = jobSeconds * 2;
    const job = `count: { image: '${jobImage}', tags: [node-${desk.name}], script: ['${counting(count, 0.5)}'] }`;
    // Of their own, as whoever makes rounds pushes too.
    await gitlab.push(`pushed-${name}`, { 'readme.md': 'somebody pushes here all the time' });
    const project = await gitlab.push(`life-${name}`, { '.gitlab-ci.yml': job });
    await until('its job runs', async () => {
      const [one] = await gitlab.api<{ status: string }[]>(`/projects/${project}/jobs`);
      return one?.status === 'running';
    });
    const folder = mkdtempSync('/var/tmp/t-lab-life-');
    const users = new PushingUsers({
      folder,
      run: (file, ...args) =>
        run('nsenter', [desk.net, file, ...args]).then(
          ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
          ({ code, stdout = '', stderr = '' }) => ({ code: Number(code ?? 1), stdout, stderr }),
        ),
      remotes: [`${doorOf(hosted, desk).replace('//', `//root:${gitlab.token}@`)}/root/pushed-${name}.git`],
    });
    await users.begin({ goesOn: true });
    await until('pushes are acknowledged', () => users.acknowledged.length > 1, 60_000);
    const before = await hosted.whole();
    const { epoch } = await hosted.status(desk);
    const life = new Life({ hosted, name, host, desk, folder, epoch, gitlab, project, count, before, users });
    await sleep(calmMs);
    return life;
  }

  /** From now on it is counted how long nobody is served. */
  mark(): void {
    this.#at = performance.now();
  }

  /** ms from the mark until a push that was begun after now is taken. */
  async pushesGoOn(limitMs: number): Promise<number> {
    const had = this.users.pushed.length;
    await until('a push is taken again', () => this.users.pushed.length > had, limitMs);
    return performance.now() - this.#at;
  }

  /** GitLab goes on at another machine than before; who that is, as the desk's machine says. */
  async movedTo(limitMs: number): Promise<LabMachine> {
    const name = await until(
      'GitLab goes on elsewhere',
      async () => {
        const { host, epoch, state } = await this.hosted.status(this.desk);
        return epoch > this.epoch && state === 'healthy' ? host : null;
      },
      limitMs,
    );
    const machine = this.hosted.lab.machine(name);
    await runsOn(this.hosted, machine, this.desk);
    return machine;
  }

  /** Nothing of a move: same host, same epoch. */
  async stayed(): Promise<void> {
    const { host, epoch } = await this.hosted.status(this.desk);
    demand(host === this.host.name && epoch === this.epoch, `GitLab is on ${host} in epoch ${epoch}, and was to stay`);
  }

  /** The job that ran all along has ended well, and its trace has each line once. */
  async jobEnded(): Promise<string> {
    const { status, jobs } = await pipelineEnd({ gitlab: this.#gitlab }, this.#project, 300_000);
    const [job] = jobs;
    demand(status === 'success' && jobs.length === 1, `the pipeline ended as ${status} with ${jobs.length} jobs`);
    const said = ticks(await this.#gitlab.trace(this.#project, job?.id ?? 0));
    const wanted = upTo(this.#count);
    demand(said.join() === wanted.join(), `its trace has ${said.length} of ${wanted.length} lines: ${said.slice(-3)}`);
    return `its job ended well, ${said.length} lines once each`;
  }

  /** Ends what goes on. What was acknowledged is there, and never by two. */
  async end(): Promise<string> {
    await this.users.end();
    clearInterval(this.#looks);
    const acks = this.#writers.taken();
    this.#writers.end();
    const { epoch } = await this.hosted.status(this.desk);
    const two = whatTwoDid(acks, this.hosted.doors, epoch - this.epoch);
    demand(two === null, two ?? '');
    demand(acks.length > 0, 'no write was acknowledged at all');
    const remote = this.hosted.gitlab.url.replace('//', `//root:${this.#gitlab.token}@`);
    const lacking = await this.users.lacking(this.users.acknowledged, `${remote}/root/pushed-${this.#name}.git`);
    demand(lacking.length === 0, `${lacking.length} acknowledged pushes are lost: ${lacking.slice(0, 3)}`);
    this.hosted.compare(steady(this.before), steady(await this.hosted.whole()), this.hosted.host.name);
    const { acknowledged, alone, refused } = this.users;
    return `${acknowledged.length} pushes acknowledged (${alone.length} more alone, ${refused.times} refused): none lost, nothing of before either; ${acks.length} writes by one at a time`;
  }

  /** Whatever became of it. */
  async over(): Promise<void> {
    clearInterval(this.#looks);
    this.#writers.end();
    await this.users.end();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Writers change what a project says of itself, and a trace grows while its job runs: of these it counts that they are there. */
function steady(data: WholeData): WholeData {
  const there = (all: ReadonlyMap<string, string>, changes: RegExp): Map<string, string> =>
    new Map([...all].map(([key, hash]) => [key, changes.test(key) ? 'there' : hash]));
  const { rows, files } = data;
  return { ...data, rows: rows && there(rows, /^project /), files: there(files, /\/traces\//) };
}

const jobImage = 'autogit-test:bash';

/** Life goes on while that is done; whatever becomes of it, nobody pushes any more at its end. */
export async function during(
  hosted: HostedLab,
  name: string,
  act: (life: Life) => Promise<string>,
  jobSeconds?: number,
): Promise<string> {
  const life = await Life.begin(hosted, name, jobSeconds);
  try {
    const seen = await act(life);
    return `${seen}; ${await life.end()}`;
  } finally {
    await life.over();
  }
}

/** The former host is back: it lets nobody in, and holds copies that are in sync. */
export async function exHost(life: Life): Promise<string> {
  const { hosted, host, desk, epoch } = life;
  const from = performance.now();
  await until(
    `${host.name} is in sync`,
    async () => {
      const { standbys = [] } = await hosted.status(desk);
      return standbys.some((row) => row.node === host.name && row.inSync);
    },
    180_000,
  );
  const took = performance.now() - from;
  const running = host.engine
    .docker(['ps', '-q', '--filter', `ancestor=${image}`])
    .stdout.toString()
    .trim();
  demand(running === '', `GitLab runs on ${host.name} still: ${running}`);
  const { fenced = [] } = await hosted.status(desk);
  const name = fenced.find((row) => row.node === host.name)?.name;
  if (name === undefined) return `${host.name} in sync after ${seconds(took)}, and keeps nothing`;
  demand(name === `fenced-${epoch}`, `${host.name} keeps ${name} of epoch ${epoch}`);
  const compared = await hosted.done(desk, 'gitlab', 'diff', name);
  const [line = ''] = `${compared.stdout}\n${compared.stderr}`.split('\n').filter((one) => /written to/.test(one));
  await hosted.done(desk, '--yes', 'gitlab', 'fenced', 'drop', name);
  return `${host.name} in sync after ${seconds(took)}; ${name}: "${line.trim()}", dropped`;
}
