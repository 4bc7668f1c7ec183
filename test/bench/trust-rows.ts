import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formMesh, pipelineEnd, runningJobs } from '../e2e/mesh.ts';
import { Rig, sleep, type TestGitlab, type TestMachine, until } from '../e2e/rig.ts';
import startEngine from '../root/engine.ts';
import { makeTestImages } from '../root/test-image.ts';
import { install } from './debian.ts';
import { maxUnder, type Row, ratioAtMost, row } from './figures.ts';

interface Turn {
  cpuMs: number;
  lateMs: number;
}

/** One agent under the probe, alone in its mesh. */
class Probed {
  readonly rig = new Rig();
  readonly file: string;
  machine!: TestMachine;
  gitlab!: TestGitlab;

  constructor() {
    this.file = join(this.rig.dir, 'turns');
  }

  async start(executors: string[], hasGitlab: boolean): Promise<void> {
    const env = { NODE_OPTIONS: `--require ${process.env.TURN_PROBE_CODE}`, TURN_PROBE: this.file };
    const [machine] = await formMesh(this.rig, ['kang'], { env: { kang: env }, args: { kang: executors } });
    this.machine = machine as TestMachine;
    if (!hasGitlab) return;
    this.gitlab = this.rig.practice();
    await this.gitlab.start();
    this.machine.env.PRACTICE_TOKEN = this.gitlab.token;
    const said = await this.machine.cli('gitlab', 'connect', this.gitlab.url, '--token-env', 'PRACTICE_TOKEN');
    if (said.code !== 0) throw new Error(`gitlab connect: ${said.stderr}`);
  }

  /** The worst since it was asked last. */
  async turn(): Promise<Turn> {
    const lines = () => (existsSync(this.file) ? readFileSync(this.file, 'utf8').trim().split('\n') : []);
    const before = lines().length;
    this.machine.process?.kill('SIGUSR2');
    const line = await until('the probe answers', () => lines()[before], 120_000);
    return JSON.parse(line) as Turn;
  }

  get pid(): number {
    return this.machine.process?.pid as number;
  }
}

const again = async ({ gitlab }: Probed, project: number): Promise<void> => {
  await gitlab.api(`/projects/${project}/pipeline?ref=main`, { method: 'POST', body: JSON.stringify({ ref: 'main' }) });
};

interface Case {
  name: string;
  yaml: string;
  isDocker: boolean;
}

const hostile = (image: string): Case[] => [
  {
    name: 'hostile glob',
    isDocker: false,
    yaml: `job: { script: ['touch ${'a'.repeat(200)}'], artifacts: { paths: ['${'*a'.repeat(24)}*b', '${'**/'.repeat(30)}x'] } }`,
  },
  {
    name: '20 MB of forged marks',
    isDocker: true,
    // The marks' own words, as anybody can read them in our source; the secret in them is not to be had.
    yaml: [
      'job:',
      `  image: '${image}'`,
      `  script: ['i=100; while [ $i -lt 400000 ]; do echo "::step $i begin"; echo "$i end 0 0"; echo "begin $i"; i=$((i+1)); done']`,
    ].join('\n'),
  },
  {
    name: 'sparse artifact of 1 TB',
    isDocker: false,
    yaml: `job: { script: ['truncate -s 1T big.bin || truncate -s 100G big.bin'], artifacts: { paths: ['big.bin'] } }`,
  },
  {
    name: '4 MiB/s of output',
    isDocker: false,
    yaml: `job: { script: ['for i in $(seq 100); do head -c 419430 /dev/zero | tr "\\0" x; echo; sleep 0.1; done'] }`,
  },
];

async function turnRows(
  one: Case,
  agents: { docker: Probed; bash: Probed; idle: Probed },
  trials: number,
): Promise<Row[]> {
  const agent = one.isDocker ? agents.docker : agents.bash;
  const { idle } = agents;
  const project = await agent.gitlab.push(`case-${one.name.replace(/\W+/g, '-').toLowerCase()}`, {
    '.gitlab-ci.yml': one.yaml,
  });
  await pipelineEnd(agent.rig, project, 300_000);
  const turns: Turn[] = [];
  const idles: Turn[] = [];
  for (let trial = 0; trial < trials; trial++) {
    await agent.turn();
    await idle.turn();
    await again(agent, project);
    await pipelineEnd(agent.rig, project, 300_000);
    turns.push(await agent.turn());
    idles.push(await idle.turn());
  }
  return [
    row({
      measure: `${one.name}: longest CPU of one turn`,
      unit: 'ms',
      ours: turns.map(({ cpuMs }) => cpuMs),
      against: { name: 'idle', values: idles.map(({ cpuMs }) => cpuMs) },
      targets: [maxUnder(50)],
    }),
    row({
      measure: `${one.name}: lateness (p99 of timers)`,
      unit: 'ms',
      ours: turns.map(({ lateMs }) => lateMs),
      against: { name: 'idle', values: idles.map(({ lateMs }) => lateMs) },
      targets: [ratioAtMost(1.2)],
    }),
  ];
}

/** Is anything left of a job that marked its processes and files with this number? Zombies count as ended. */
function leftOf(mark: string): string[] {
  const found: string[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0').includes(mark)) found.push(pid);
    } catch {
      // It ended while we looked.
    }
  }
  return found;
}

let marks = 7_000_000;
/** ms from the timeout, or from the cancel, until nothing of a job that does all it can to stay is left. */
async function endOf(agent: Probed, image: string | null, how: 'timeout' | 'cancel'): Promise<number> {
  const mark = String(++marks);
  const stay = `trap "" TERM INT HUP; (trap "" TERM; exec -a sleep sleep ${mark}) & setsid sleep ${mark} & env -i setsid sleep ${mark} & sleep ${mark}; sleep ${mark}`;
  const replaced = image ? 'cp /bin/sleep /tmp/s 2>/dev/null; printf "#!/nowhere\\n" > /bin/sh; ' : '';
  const script = JSON.stringify(`${replaced}echo begun; ${stay.replace('exec -a sleep ', '')}`);
  const head = image ? `image: '${image}', ` : '';
  const timeout = how === 'timeout' ? "timeout: '15s', " : '';
  const project = await agent.gitlab.push(`end-${mark}`, {
    '.gitlab-ci.yml': `job: { ${head}${timeout}script: [${script}] }`,
  });
  const [job] = await until('the script has begun', async () => {
    const jobs = await runningJobs(agent.rig, project);
    return jobs.length > 0 && leftOf(mark).length >= 3 ? jobs : null;
  });
  const began = performance.now();
  let from = began;
  if (how === 'cancel') await agent.gitlab.api(`/projects/${project}/jobs/${job!.id}/cancel`, { method: 'POST' });
  else {
    const { started_at: started } = await agent.gitlab.api<{ started_at: string }>(
      `/projects/${project}/jobs/${job!.id}`,
    );
    from += Math.max(0, Date.parse(started) + 15_000 - Date.now());
  }
  try {
    await until('nothing of the job is left', () => leftOf(mark).length === 0, 180_000);
  } catch {
    return Number.NaN;
  }
  return Math.max(0, performance.now() - from);
}

/** MiB of an agent and all its children, memory that they share counted once. */
function treeMib(root: number): number {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc').filter((one) => /^\d+$/.test(one))) {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
    } catch {
      // It ended while we looked.
    }
  }
  const belongs = (pid: number): boolean =>
    pid === root || (parents.has(pid) && pid > 1 && belongs(parents.get(pid) as number));
  let kib = 0;
  for (const pid of parents.keys())
    if (belongs(pid))
      try {
        kib += Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'))?.[1] ?? 0);
      } catch {
        // It ended while we looked.
      }
  return kib / 1024;
}

const trees = {
  '20,000 files':
    'mkdir -p t; cd t; for d in $(seq 100); do mkdir d$d; for f in $(seq 200); do echo "$d $f $RANDOM" > d$d/f$f; done; done; cd ..',
  '2 GiB': 'mkdir -p t; head -c 2147483648 /dev/urandom > t/big',
};

/** From the script's end to the job's end, beside `zip -qr` of the same tree; and what the agent's tree of processes takes meanwhile. */
async function artifactRows(agent: Probed, name: keyof typeof trees, trials: number): Promise<Row[]> {
  const make = trees[name];
  const script = JSON.stringify([make, 'echo ended $(date +%s%N)']);
  const project = await agent.gitlab.push(`artifact-${name.replace(/\W+/g, '-').toLowerCase()}`, {
    '.gitlab-ci.yml': `job: { script: ${script}, artifacts: { paths: [t] } }`,
  });
  const ours: number[] = [];
  const zips: number[] = [];
  const memory: number[] = [];
  await sleep(3_000);
  const idleMib = treeMib(agent.pid);
  const folder = mkdtempSync(join(tmpdir(), 'autogit-bench-zip-'));
  spawnSync('bash', ['--norc', '-c', make], { cwd: folder, stdio: 'ignore' });
  try {
    for (let trial = 0; trial < trials; trial++) {
      if (trial > 0) await again(agent, project);
      let worst = 0;
      const watch = setInterval(() => {
        worst = Math.max(worst, treeMib(agent.pid));
      }, 250);
      const { jobs } = await pipelineEnd(agent.rig, project, 600_000);
      const ended = Date.now();
      clearInterval(watch);
      const scriptEnded = Number(/^ended (\d+)/m.exec(await agent.gitlab.trace(project, jobs[0]!.id))?.[1]) / 1e6;
      ours.push(jobs[0]!.status === 'success' ? ended - scriptEnded : Number.NaN);
      memory.push(worst - idleMib);
      const began = performance.now();
      spawnSync('zip', ['-qr', 'out.zip', 't'], { cwd: folder, stdio: 'ignore' });
      zips.push(performance.now() - began);
      rmSync(join(folder, 'out.zip'), { force: true });
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return [
    row({
      measure: `artifact of ${name}: script's end -> job's end`,
      unit: 'ms',
      ours,
      against: { name: 'zip -qr', values: zips },
      targets: [ratioAtMost(1.3)],
      note: 'ours holds the upload to the practice GitLab on the same cores and the final report, too',
    }),
    row({ measure: `artifact of ${name}: memory above idle`, unit: 'MiB', ours: memory, targets: [maxUnder(64)] }),
  ];
}

/** `npm run bench -- trust`: what a hostile or heavy job costs the agent that runs it. */
export async function trustRows(trials: number, only: readonly string[], say: (line: string) => void): Promise<Row[]> {
  install({ zip: 'zip' });
  const stopEngine = await startEngine();
  const image = makeTestImages().bash;
  const agents = { docker: new Probed(), bash: new Probed(), idle: new Probed() };
  const rows: Row[] = [];
  const measure = async (part: string, name: string, run: () => Promise<Row[]>): Promise<void> => {
    if (only.length > 0 && !only.includes(part)) return;
    say(`${name} …`);
    try {
      rows.push(...(await run()));
    } catch (error) {
      rows.push(
        row({ measure: name, unit: '-', ours: [], note: `could not be measured: ${(error as Error).message}` }),
      );
    }
  };
  try {
    await agents.docker.start(['--executor', 'docker'], true);
    await agents.bash.start(['--executor', 'process', '--user', 'root'], true);
    await agents.idle.start(['--executor', 'process', '--user', 'root'], false);
    for (const one of hostile(image)) await measure('turns', one.name, () => turnRows(one, agents, trials));
    for (const [name, agent, from] of [
      ['process', agents.bash, null],
      ['docker', agents.docker, image],
    ] as const)
      for (const how of ['timeout', 'cancel'] as const)
        await measure('ends', `${name}, ${how}`, async () => {
          const ours: number[] = [];
          for (let trial = 0; trial < trials; trial++) ours.push(await endOf(agent, from, how));
          const what = `hostile ${name} job: ${how} -> nothing of it left`;
          return [row({ measure: what, unit: 'ms', ours, targets: [maxUnder(15_000)] })];
        });
    for (const name of Object.keys(trees) as (keyof typeof trees)[])
      await measure('artifacts', name, () => artifactRows(agents.bash, name, trials));
    return rows;
  } finally {
    for (const { rig } of Object.values(agents)) await rig.clean();
    await stopEngine?.();
  }
}
