import { AutogitError } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Measured } from '../../protocol/report.ts';
import { DockerExecutor } from '../executors/docker-executor.ts';
import { engineTag } from '../executors/engine-for-jobs.ts';
import { usualTreeLimits } from '../executors/kept-trees.ts';
import { ProcessExecutor } from '../executors/process-executor.ts';
import type { Log } from '../log.ts';
import { CudaCheckpoint } from '../machine/cuda-checkpoint.ts';
import { createMachine, type MachineOptions } from '../machine/machine.ts';
import type { Executor, Machine } from '../ports.ts';
import type { Progress } from '../progress-lines.ts';
import { showBytes } from '../settings/quantities.ts';
import type { JoinOptions } from '../settings/settings.ts';
import type { ExecutorHealth } from './executor-health.ts';

/** What a member works with: the machine that it measures, and the executors that run its jobs. */
export interface MachineAndExecutors {
  machine: Machine;
  executors: Executor[];
}

/** "16 cores, 64 GiB, 1 x RTX 3090 Ti (24 GiB)" */
export function describeMachine({ capacity }: Measured): string {
  const cores = capacity.cpuMillis / 1000;
  const gpus = capacity.gpus.map((gpu) => `1 x ${gpu.model} (${showBytes(gpu.memoryBytes)})`);
  const parts = [`${cores} ${cores === 1 ? 'core' : 'cores'}`, showBytes(capacity.memoryBytes), ...gpus];
  return parts.join(', ');
}

/**
 * The executors that work here, the first being the default. Asked for by name, one that does not work ends the agent;
 * without a wish it is docker, as soon as an engine answers. Process is never chosen by itself (DESIGN §9).
 */
export async function openExecutors(
  options: JoinOptions,
  node: NodeId,
  lines: Progress,
  log: Pick<Log, 'info' | 'warn'>,
  /** What a job's owner should read in its trace. */
  note: (run: string, sentence: string) => void,
): Promise<Executor[]> {
  if (options.witness) return [];
  await sayGiveWay(options, lines);
  const wanted = options.executors.length > 0 ? options.executors : (['docker'] as const);
  if (options.engineForJobs.length > 0 && !(wanted as readonly string[]).includes('docker'))
    lines.warn(
      'engine',
      'no job may use an engine here: --engine-for-jobs is for docker jobs, and needs --executor docker',
    );
  const found: Executor[] = [];
  const trees = { ...usualTreeLimits, limitBytes: options.keepTreesBytes };
  for (const kind of new Set(wanted)) {
    const executor =
      kind === 'docker'
        ? new DockerExecutor({
            node,
            dockerHost: options.dockerHost,
            defaultImage: options.defaultImage,
            home: options.home,
            imageRoomPercent: options.imageRoomPercent,
            imageAgeMs: options.imageAgeMs,
            engineForJobs: options.engineForJobs,
            trees,
            log,
            note,
          })
        : new ProcessExecutor({ home: options.home, user: options.user, trees, log, note });
    try {
      lines.ok(kind, await executor.check());
      if (kind === 'docker' && options.engineForJobs.length > 0)
        lines.warn('engine', engineWords(options.engineForJobs));
      found.push(executor);
    } catch (error) {
      if (!(error instanceof AutogitError) || options.executors.length > 0) throw error;
      lines.warn(kind, `${error.message}; this machine takes no jobs (${error.hint})`);
      // An engine that is started later is used from then on, and runs that it has from before are found again.
      if (kind === 'docker') found.push(executor);
    }
  }
  return found;
}

/** What the owner has set and this machine cannot do is said at the start, not when he wants his GPU. */
async function sayGiveWay({ giveWay: { usual, byTag } }: JoinOptions, lines: Progress): Promise<void> {
  if (![usual, ...byTag.map(({ way }) => way)].some((way) => way?.startsWith('suspend'))) return;
  const because = await new CudaCheckpoint().refusal([]);
  if (because !== null)
    lines.warn('give-way', `no job can be suspended here: ${because}; it is frozen instead, or ends with suspend/end`);
}

/** One that is not switched on here any more, with what is known without being told; null for a kind of a later version. */
export function retiredExecutor(kind: string, node: NodeId, home: string): Executor | null {
  if (kind === 'process') return new ProcessExecutor({ home });
  return kind === 'docker' ? new DockerExecutor({ node, home }) : null;
}

/** What measuring asks of this node's member, once there is one. */
interface MeasuredMember {
  storeProblem: string | null;
  runs: { gpuProcesses(): Promise<ReadonlySet<number>> };
}

/** Said at each start: it is the one thing by which jobs reach the machine itself. */
const engineWords = (projects: readonly string[]): string =>
  `jobs of ${projects.join(', ')} with the tag ${engineTag} may use this machine's engine: whoever may push there is root here`;

/** A machine whose engine jobs may use satisfies the tag for that. */
const labelsOf = (labels: readonly string[], engineForJobs: readonly string[]): readonly string[] =>
  engineForJobs.length > 0 ? [...new Set([...labels, engineTag])] : labels;

/** The machine as the agent measures it. */
export const machineOf = (
  {
    labels,
    engineForJobs,
    maxRuns,
    reserveMemoryBytes,
    playGpus,
    home,
    sharesCaches,
    seesFullScreen,
    sharesGpus,
  }: JoinOptions,
  executors: readonly Executor[],
  health: ExecutorHealth,
  { member, ...rest }: Pick<MachineOptions, 'clock' | 'pause'> & { member(): MeasuredMember | null },
): Machine =>
  createMachine({
    folder: home,
    labels: labelsOf(labels, executors.some(({ kind }) => kind === 'docker') ? engineForJobs : []),
    maxRuns,
    reserveMemoryBytes,
    playGpus,
    sharesCaches,
    seesFullScreen,
    sharesGpus,
    executors: executors.map((executor) => executor.kind),
    workingExecutors: () => health.working(),
    workProblems: () => health.problems(),
    gpuProblem: () => health.gpuProblem,
    runtimes: () => health.runtimes,
    storeProblem: () => member()?.storeProblem ?? null,
    gpuProcesses: async () => (await member()?.runs.gpuProcesses()) ?? new Set(),
    ...rest,
  });
