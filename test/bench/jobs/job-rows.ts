import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { medianAbove, type Row, ratioAtLeast, ratioAtMost, row, type Target } from '../figures.ts';
import { bareContainer, bareServices } from './bare-engine.ts';
import type { JobsStage } from './jobs-stage.ts';
import { OfficialLoop } from './official-loop.ts';

const began = 'echo began $(date +%s%N)';
const p99AtMost = (most: number): Target => ({
  sentence: `p99 <= ${most} x`,
  holds: (ours, against) => against !== null && ours.p99 <= most * against.p99,
});

async function untilFirstByte(stage: JobsStage, project: number): Promise<number> {
  const { pendingAt, jobs } = await stage.again(project);
  return (await stage.beganAt(project, jobs[0]!.id)) - pendingAt;
}

export async function firstByteRow(stage: JobsStage, trials: number): Promise<Row[]> {
  const image = stage.images.bash;
  const project = await stage.project('first-byte', `job: { image: '${image}', script: ['${began}'] }\n`);
  const loop = await OfficialLoop.start(stage.gitlab, 'official', image);
  const official = await stage.gitlab.push('official', {
    '.gitlab-ci.yml': `job: { tags: [official], rules: [{ if: '$CI_PIPELINE_SOURCE == "api"' }], script: ['true'] }\n`,
  });
  const pending = async (): Promise<number> => {
    const { created_at: at } = await stage.gitlab.runPipeline(official);
    return Date.parse(at);
  };
  const ours: number[] = [];
  const others: number[] = [];
  for (let trial = 0; trial < trials; trial++) {
    ours.push(await untilFirstByte(stage, project));
    others.push(await loop.once(pending));
  }
  const measure = 'job pending -> first script byte, docker, image present';
  const against = { name: 'official loop', values: others };
  return [row({ measure, unit: 'ms', ours, against, targets: [ratioAtMost(0.45), p99AtMost(0.8)] })];
}

/** From GitLab's answer to the request until it has the result: what a job costs beside its script. */
async function jobTime(stage: JobsStage, project: number): Promise<number> {
  const [job] = (await stage.again(project)).jobs;
  return Date.parse(job!.finished_at) - Date.parse(job!.started_at);
}

async function bareShell(): Promise<number> {
  const start = performance.now();
  const child = spawn('bash', ['-c', 'true'], { stdio: 'ignore' });
  await once(child, 'exit');
  return performance.now() - start;
}

export async function overheadRows(stage: JobsStage, trials: number): Promise<Row[]> {
  const image = stage.images.bash;
  const inDocker = await stage.project(
    'cost-docker',
    `job: { image: '${image}', tags: [docker], variables: { GIT_STRATEGY: none }, script: ['true'] }\n`,
  );
  const plain = await stage.project(
    'cost-process',
    "job: { tags: [process], variables: { GIT_STRATEGY: none }, script: ['true'] }\n",
  );
  const [docker, bare, process, shell]: number[][] = [[], [], [], []];
  for (let trial = 0; trial < trials; trial++) {
    docker!.push(await jobTime(stage, inDocker));
    bare!.push(await bareContainer(image, 'true'));
    process!.push(await jobTime(stage, plain));
    shell!.push(await bareShell());
  }
  const note = 'by GitLab’s started_at and finished_at; its answers take their real pace in between';
  return [
    row({
      ...{ measure: 'a trivial job taken -> ended at GitLab, docker', unit: 'ms', note, ours: docker! },
      against: { name: 'dockerode create, start, wait, remove', values: bare! },
      targets: [ratioAtMost(1.15)],
    }),
    row({
      ...{ measure: 'the same, process', unit: 'ms', note, ours: process! },
      against: { name: 'bare spawn', values: shell! },
      targets: [medianAbove(100)],
    }),
  ];
}

const jobsOfRate = 40;
const inFlight = 8;

export async function rateRow(stage: JobsStage, trials: number): Promise<Row[]> {
  const image = stage.images.bash;
  const jobs = Array.from({ length: jobsOfRate }, (_, i) => `j${i}: { extends: .one }`).join('\n');
  const project = await stage.project(
    'rate',
    `.one: { image: '${image}', variables: { GIT_STRATEGY: none }, script: ['true'] }\n${jobs}\n`,
  );
  const ours: number[] = [];
  const others: number[] = [];
  for (let trial = 0; trial < trials; trial++) {
    const ended = (await stage.again(project, 300_000)).jobs;
    const from = Math.min(...ended.map((job) => Date.parse(job.started_at)));
    const until = Math.max(...ended.map((job) => Date.parse(job.finished_at)));
    ours.push((ended.length * 1000) / (until - from));
    others.push(await bareRate(image));
  }
  return [
    row({
      ...{ measure: `trivial jobs in docker, ${jobsOfRate} at once on one machine`, unit: 'jobs/s', ours },
      against: { name: `dockerode, ${inFlight} in flight`, values: others },
      targets: [ratioAtLeast(0.8)],
      note: 'a job asks for one core unless its tags say otherwise, so a machine of two cores has two in flight',
    }),
  ];
}

async function bareRate(image: string): Promise<number> {
  const start = performance.now();
  let left = jobsOfRate;
  const lane = async (): Promise<void> => {
    while (left-- > 0) await bareContainer(image, 'true');
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  return (jobsOfRate * 1000) / (performance.now() - start);
}

export async function servicesRow(stage: JobsStage, trials: number): Promise<Row[]> {
  const { bash, web } = stage.images;
  const service = `{ name: '${web}', variables: { MODE: m, PASSWORD: p, SECRET: s }`;
  const project = await stage.project(
    'services',
    `job: { image: '${bash}', services: [${service}, alias: one }, ${service}, alias: two }], script: ['${began}'] }\n`,
  );
  const ours: number[] = [];
  const others: number[] = [];
  for (let trial = 0; trial < trials; trial++) {
    ours.push(await untilFirstByte(stage, project));
    others.push(await bareServices(bash, web, 'echo began'));
  }
  return [
    row({
      ...{ measure: 'job with two services: pending -> script', unit: 'ms', ours },
      against: { name: 'dockerode: network and three containers', values: others },
      targets: [ratioAtMost(1.2)],
      note: 'ours waits until the services answer at their port, which these do a second after they began; the peer waits for nothing',
    }),
  ];
}
