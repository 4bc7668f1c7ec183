import { readdirSync, readFileSync } from 'node:fs';
import { pipelineEnd, runningJobs } from '../e2e/mesh.ts';
import { until } from '../e2e/rig.ts';
import startEngine from '../root/engine.ts';
import { makeTestImages, testImages } from '../root/test-image.ts';
import { artifactRows, artifactTrees } from './artifact-rows.ts';
import { install } from './debian.ts';
import { addPart, maxUnder, type Row, ratioAtMost, row } from './figures.ts';
import { again, Probed, type Turn } from './probed.ts';

interface Case {
  name: string;
  yaml: string;
  isDocker: boolean;
}

const hostile = (image: string): Case[] => [
  {
    // The control: what any job costs, its eight or so programs started and all.
    name: 'an ordinary job',
    isDocker: false,
    yaml: `job: { script: ['echo a > a'], artifacts: { paths: ['a'] } }`,
  },
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

async function turnRows(one: Case, agent: Probed, idle: Probed, trials: number): Promise<Row[]> {
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
    row({
      measure: `${one.name}: lateness without its own turns`,
      unit: 'ms',
      ours: turns.map(({ waitMs }) => waitMs),
      against: { name: 'idle', values: idles.map(({ waitMs }) => waitMs) },
      note: 'what the kernel lets an agent wait that has work to do; the idle one is measured at the same moments',
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
  // The shell is a link to bash, which runs and cannot be written.
  const replaced = image ? 'cp /bin/sleep /tmp/s; rm -f /bin/sh; printf "#!/nowhere\\n" > /bin/sh; ' : '';
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

/** What the rows need, started when the first of them asks: a part without Docker starts no engine. */
class TrustStage {
  readonly #agents = new Map<string, Promise<Probed>>();
  #engine: Promise<() => Promise<void>> | null = null;

  agent(name: 'docker' | 'process' | 'idle'): Promise<Probed> {
    const found = this.#agents.get(name) ?? this.#start(name);
    this.#agents.set(name, found);
    return found;
  }

  async #start(name: 'docker' | 'process' | 'idle'): Promise<Probed> {
    const agent = new Probed();
    if (name === 'docker') {
      this.#engine ??= startEngine();
      await this.#engine;
      makeTestImages();
      await agent.start(['--executor', 'docker'], true);
    } else await agent.start(['--executor', 'process', '--user', 'root'], name === 'process');
    return agent;
  }

  async end(): Promise<void> {
    for (const agent of this.#agents.values()) await agent.then(({ rig }) => rig.clean()).catch(() => undefined);
    await (await this.#engine)?.();
  }
}

/** `npm run bench -- trust`: what a hostile or heavy job costs the agent that runs it. */
export async function trustRows(trials: number, only: readonly string[], say: (line: string) => void): Promise<Row[]> {
  install({ zip: 'zip' });
  const stage = new TrustStage();
  const rows: Row[] = [];
  const measure = async (part: string, name: string, run: () => Promise<Row[]>): Promise<void> => {
    if (only.length > 0 && !only.some((one) => `${part}-`.startsWith(`${one}-`))) return;
    await addPart(rows, name, run, say);
  };
  const executors = [
    ['process', null],
    ['docker', testImages.bash],
  ] as const;
  try {
    for (const one of hostile(testImages.bash))
      await measure(`turns-${one.isDocker ? 'docker' : 'process'}`, one.name, async () => {
        const agent = await stage.agent(one.isDocker ? 'docker' : 'process');
        return turnRows(one, agent, await stage.agent('idle'), trials);
      });
    for (const [executor, image] of executors)
      for (const how of ['timeout', 'cancel'] as const)
        await measure(`ends-${executor}`, `${executor}, ${how}`, async () => {
          const agent = await stage.agent(executor);
          const ours: number[] = [];
          for (let trial = 0; trial < trials; trial++) ours.push(await endOf(agent, image, how));
          const what = `hostile ${executor} job: ${how} -> nothing of it left`;
          return [row({ measure: what, unit: 'ms', ours, targets: [maxUnder(15_000)] })];
        });
    for (const name of artifactTrees)
      for (const [executor, image] of executors)
        await measure(
          `artifacts-${name === '2 GiB' ? 'large' : 'many'}-${executor}`,
          `${executor}, ${name}`,
          async () => artifactRows(await stage.agent(executor), { name, executor, image }, trials, say),
        );
    return rows;
  } finally {
    await stage.end();
  }
}
