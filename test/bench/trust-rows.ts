import { readdirSync, readFileSync } from 'node:fs';
import { pipelineEnd, runningJobs } from '../e2e/mesh.ts';
import { until } from '../e2e/rig.ts';
import startEngine from '../root/engine.ts';
import { makeTestImages } from '../root/test-image.ts';
import { artifactRows, artifactTrees } from './artifact-rows.ts';
import { install } from './debian.ts';
import { maxUnder, type Row, ratioAtMost, row } from './figures.ts';
import { again, Probed, type Turn } from './probed.ts';

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

/** `npm run bench -- trust`: what a hostile or heavy job costs the agent that runs it. */
export async function trustRows(trials: number, only: readonly string[], say: (line: string) => void): Promise<Row[]> {
  install({ zip: 'zip' });
  const stopEngine = await startEngine();
  const image = makeTestImages().bash;
  const agents = { docker: new Probed(), bash: new Probed(), idle: new Probed() };
  const rows: Row[] = [];
  const measure = async (part: string, name: string, run: () => Promise<Row[]>): Promise<void> => {
    if (only.length > 0 && !only.some((one) => one === part || part.startsWith(`${one}-`))) return;
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
    const executors = [
      ['process', agents.bash, null],
      ['docker', agents.docker, image],
    ] as const;
    for (const [name, agent, from] of executors)
      for (const how of ['timeout', 'cancel'] as const)
        await measure('ends', `${name}, ${how}`, async () => {
          const ours: number[] = [];
          for (let trial = 0; trial < trials; trial++) ours.push(await endOf(agent, from, how));
          const what = `hostile ${name} job: ${how} -> nothing of it left`;
          return [row({ measure: what, unit: 'ms', ours, targets: [maxUnder(15_000)] })];
        });
    for (const name of artifactTrees)
      for (const [executor, agent, from] of executors)
        await measure(name === '2 GiB' ? 'artifacts-large' : 'artifacts-many', `${executor}, ${name}`, () =>
          artifactRows(agent, { name, executor, image: from }, trials),
        );
    return rows;
  } finally {
    for (const { rig } of Object.values(agents)) await rig.clean();
    await stopEngine?.();
  }
}
