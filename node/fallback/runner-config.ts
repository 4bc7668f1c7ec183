import type { Gpu, Measured } from '../../protocol/report.ts';
import { type Demand, demandOf, gpuSlug, saysMemory, vramFits } from '../../scheduler/jobs/demand.ts';
import { fitOf } from '../../scheduler/jobs/machine-fit.ts';
import { runtimeFor } from '../../scheduler/jobs/runtimes.ts';

/** One runner of GitLab's that the mesh has: its tags, and its token in the clear. */
export interface FallbackClass {
  tags: readonly string[];
  token: string;
}

interface FallbackInput {
  mesh: string;
  node: string;
  url: string;
  classes: readonly FallbackClass[];
  measured: Measured;
  defaultArch: string;
  /** In the order in which the machine was started with them; the first is for tags that name none. */
  executors: readonly string[];
  defaultImage: string | null;
  dockerHost: string | null;
  /** Device nodes of a card of AMD or Intel, by its uuid. */
  nodesOf(uuid: string): string[];
  /** File of the CA that GitLab's address is believed by; null: the system's. */
  caFile: string | null;
}

export interface FallbackConfig {
  text: string;
  takes: (readonly string[])[];
  /** With the reason why no job of these can ever run here. */
  leaves: { tags: readonly string[]; because: string }[];
}

/** The first line of our files: only what has it is overwritten or removed. */
export const configMark = '# Written by autogit-node fallback.';

const kindOf = (tags: readonly string[], { executors }: FallbackInput): string | undefined =>
  executors.find((one) => tags.includes(one)) ?? executors[0];

function fitHere(tags: readonly string[], demand: Demand, input: FallbackInput): { ever: boolean; because: string } {
  // The shell executor would run it without a word, on the machine itself.
  if (demand.isolation.length > 0 && kindOf(tags, input) === 'process')
    return { ever: false, because: 'asks for isolation, and would run in a shell here' };
  return fitOf(demand, {
    node: input.node,
    name: input.node,
    measured: input.measured,
    ...{ room: null, holders: {}, runs: 0, witness: false, drained: false, away: null, isHost: false },
  });
}

/** How many jobs of this demand the idle machine has room for, by cores, memory and cards. */
function roomFor(demand: Demand, { capacity, reserveMemoryBytes }: Measured, cards: readonly Gpu[]): number {
  const parts = [
    capacity.cpuMillis / demand.cpuMillis,
    (capacity.memoryBytes - reserveMemoryBytes) / demand.memoryBytes,
    // An ordinary runner gives every job of a class the same cards.
    ...(cards.length > 0 ? [1] : []),
  ];
  return Math.max(1, Math.floor(Math.min(...parts)));
}

/** The cards that a job of these gets, the same for each of them. */
function cardsFor(demand: Demand, { capacity, labels, executors }: Measured): Gpu[] {
  const models = demand.names.filter((name) => !labels.includes(name) && !executors.includes(name));
  const count = Math.max(demand.gpus, models.length > 0 ? 1 : 0);
  return capacity.gpus
    .filter(
      (gpu) =>
        (demand.vendor === null || gpu.vendor === demand.vendor) &&
        vramFits(gpu.memoryBytes, demand.vramBytes) &&
        models.every((model) => gpuSlug(gpu.model) === model.toLowerCase()),
    )
    .slice(0, count);
}

const text = (value: string): string => JSON.stringify(value);
const list = (values: readonly string[]): string => `[${values.map(text).join(', ')}]`;

/** As in the mesh: what a tag says is a limit, and a job without one may use what jobs get of the machine. */
function memoryOf(
  tags: readonly string[],
  { memoryBytes }: Demand,
  { capacity, reserveMemoryBytes }: Measured,
): number {
  return saysMemory(tags) ? memoryBytes : Math.max(memoryBytes, capacity.memoryBytes - reserveMemoryBytes);
}

function dockerLines(tags: readonly string[], demand: Demand, input: FallbackInput, cards: readonly Gpu[]): string[] {
  const nvidia = cards.filter(({ vendor }) => vendor === 'nvidia').map(({ uuid }) => uuid);
  const others = cards.filter(({ vendor }) => vendor !== 'nvidia');
  const isAmd = others.some(({ vendor }) => vendor === 'amd');
  const nodes = [...new Set([...(isAmd ? ['/dev/kfd'] : []), ...others.flatMap(({ uuid }) => input.nodesOf(uuid))])];
  const runtime = demand.isolation.length > 0 ? runtimeFor(demand.isolation, input.measured.runtimes ?? []) : null;
  return [
    '  [runners.docker]',
    ...(input.defaultImage === null ? [] : [`    image = ${text(input.defaultImage)}`]),
    ...(input.dockerHost === null ? [] : [`    host = ${text(input.dockerHost)}`]),
    '    privileged = false',
    `    cpus = ${text(String(demand.cpuMillis / 1000))}`,
    `    memory = ${text(`${Math.ceil(memoryOf(tags, demand, input.measured) / 2 ** 20)}m`)}`,
    '    volumes = ["/cache"]',
    ...(nvidia.length > 0 ? [`    gpus = ${text(`"device=${nvidia.join(',')}"`)}`] : []),
    ...(nodes.length > 0 ? [`    devices = ${list(nodes)}`] : []),
    // As in the mesh: 64 MiB, the engine's default, break what loads data for training.
    ...(cards.length > 0 ? [`    shm_size = ${2 ** 30}`] : []),
    ...(runtime !== null ? [`    runtime = ${text(runtime)}`] : []),
  ];
}

function runnerLines({ tags, token }: FallbackClass, demand: Demand, input: FallbackInput): string[] {
  const cards = cardsFor(demand, input.measured);
  const isDocker = kindOf(tags, input) !== 'process';
  return [
    '[[runners]]',
    `  name = ${text(`${input.node}, ${tags.length === 0 ? 'untagged jobs' : tags.join(' ')}`)}`,
    `  url = ${text(input.url)}`,
    `  token = ${text(token)}`,
    ...(input.caFile === null ? [] : [`  tls-ca-file = ${text(input.caFile)}`]),
    `  executor = ${text(isDocker ? 'docker' : 'shell')}`,
    ...(isDocker ? [] : ['  shell = "bash"']),
    `  limit = ${roomFor(demand, input.measured, cards)}`,
    ...(isDocker ? dockerLines(tags, demand, input, cards) : []),
    '',
  ];
}

export const shellWord = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

/** gitlab-runner in a container, with all that its config names (an engine that is no socket is reached as it is); to be typed in a shell. */
export const containerLine = (folder: string, caFile: string | null, dockerHost: string | null = null): string => {
  const socket = dockerHost === null ? '/var/run/docker.sock' : /^unix:\/\/(.+)$/.exec(dockerHost)?.[1];
  return [
    'docker run -d --name gitlab-runner -v',
    shellWord(`${folder}:/etc/gitlab-runner`),
    ...(caFile === null ? [] : ['-v', shellWord(`${caFile}:${caFile}:ro`)]),
    ...(socket === undefined ? [] : ['-v', shellWord(`${socket}:${socket}`)]),
    'gitlab/gitlab-runner',
  ].join(' ');
};

/** The `config.toml` of an ordinary gitlab-runner on this machine: a runner for each class whose jobs it could take. */
export function runnerConfig(input: FallbackInput): FallbackConfig {
  const judged = input.classes.map((one) => {
    const demand = demandOf(one.tags, input.defaultArch);
    return { one, demand, fit: fitHere(one.tags, demand, input) };
  });
  const taken = judged.filter(({ fit }) => fit.ever);
  const rooms = taken.map(({ demand }) => roomFor(demand, input.measured, cardsFor(demand, input.measured)));
  const { maxRuns } = input.measured;
  const concurrent = Math.max(1, Math.min(...rooms, maxRuns ?? Number.POSITIVE_INFINITY));
  const head = [
    configMark,
    `# gitlab-runner on ${input.node} for the jobs of the mesh ${input.mesh}, for as long as the mesh is off. It holds runner tokens.`,
    '# The way back: end gitlab-runner, then: autogit-node fallback --end, and: autogit-node join',
    '',
    '# gitlab-runner counts jobs, not cores: as many as the largest of them has room for. More is your decision.',
    `concurrent = ${Number.isFinite(concurrent) ? concurrent : 1}`,
    'check_interval = 3',
    '',
  ];
  return {
    text: [...head, ...taken.flatMap(({ one, demand }) => runnerLines(one, demand, input))].join('\n'),
    takes: taken.map(({ one }) => one.tags),
    leaves: judged.filter(({ fit }) => !fit.ever).map(({ one, fit }) => ({ tags: one.tags, because: fit.because })),
  };
}
