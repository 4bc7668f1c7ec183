import type Docker from 'dockerode';
import type { ContainerCreateOptions, HostConfig } from 'dockerode';
import type { ExecutorSpec } from '../ports.ts';
import { filterWait } from './filter-wait.ts';
import { deviceNodes, type GpuFacts, gpuOptions } from './gpu-options.ts';
import { quote } from './job-shell.ts';
import { jobShares } from './run-limits.ts';
import { runSlug } from './run-slug.ts';

/**
 * What a run's container is made of. Never privileged, no path of the machine, no socket of the engine (DESIGN §9) but where its owner
 * has said so (engine-for-jobs.ts).
 */

/** Of every label of ours, those of a hosted GitLab too; no image of a job has one (docker-image.ts). */
export const labelStart = 'autogit.';
export const labels = {
  node: 'autogit.node',
  run: 'autogit.run',
  job: 'autogit.job',
  nonce: 'autogit.nonce',
  user: 'autogit.user',
  /** Which keeper the container has; an agent of before wrote none (1). */
  keeper: 'autogit.keeper',
  /** Of a container beside the job's: its aliases, joined. */
  service: 'autogit.service',
  /** Its image, as the trace names it. */
  serviceImage: 'autogit.service-image',
  /** Of a volume: the key of the tree that it keeps; of a container: of the one that it has. */
  tree: 'autogit.tree',
  treeProject: 'autogit.tree-project',
  /** Of an image: what the agent made it for. */
  helper: 'autogit.helper',
} as const;

export const containerName = (run: string): string => `autogit-${runSlug(run)}`;

/** Threads count too; a fork bomb ends here. */
const pidsLimit = 8192;

/** So much of a container's output is kept for a later agent: four times what a job's trace may hold (security A12). */
export const recordBytes = 16 << 20;

/** What process 1 ends with when its helpers were ended from within: by the job (`kill -9 -1`), which had the right. */
export const endedFromWithin = 93;
/** What process 1 ends with at once in an image that lacks what keeps a job's output. */
export const lacksTee = 94;

/**
 * What keeps a container alive, in three processes: process 1 waits; the keeper reads from standard input the number of a
 * step and the words that mark its output (docker-log.ts), and runs that step's script; tee copies all output to a file,
 * from which a later agent reads it again. (The engine's own logs do not keep bytes: json-file replaces what is no UTF-8,
 * local drops newlines of long lines.) Needs nothing of the image but a POSIX sh and tee; uses bash for the steps where
 * it is. Steps are not run in the background, as background commands of sh ignore SIGINT. All ends when the input ends.
 * `keep` lists who is never signalled. It waits for a first line, as its folder comes with the first step: so a container
 * can start without waiting for files. Empty lines mean nothing afterwards, so each step may be told with one in front.
 * None of its variables reaches a job: an image may export any name, so they are unset (and unexported) before use.
 */
function keeper(controlDir: string): string {
  const loop = [
    'umask 022',
    'trap : TERM INT HUP',
    'unset autogit_n autogit_b autogit_e autogit_c autogit_s autogit_i autogit_w autogit_p',
    'echo $$ >>"$1/keep"',
    'if command -v bash >/dev/null 2>&1; then autogit_s=bash; else autogit_s=sh; fi',
    'while read -r autogit_n autogit_b autogit_e; do',
    '  [ -z "$autogit_e" ] || [ -e "$1/step-$autogit_n.begun" ] && continue',
    '  echo >"$1/step-$autogit_n.begun"',
    '  echo "$autogit_b"',
    // Out of memory, the kernel takes the job's processes rather than the keepers.
    '  (echo 500 >/proc/self/oom_score_adj; exec $autogit_s "$1/step-$autogit_n.sh") </dev/null 2>&1',
    '  autogit_c=$?',
    filterWait(1),
    '  echo "$autogit_e $autogit_c"',
    '  echo "$autogit_e $autogit_c" >"$1/step-$autogit_n.exit"',
    'done',
  ].join('\n');
  // Ignored signals stay ignored in what is exec'd. 25 is XFSZ: a full record (in units of 512 bytes) must not end tee.
  const copy = `trap "" TERM INT HUP 25; echo $$ >>"$1/keep"; ulimit -f ${recordBytes / 512}; exec tee "$1/output" 2>/dev/null`;
  return `command -v tee >/dev/null 2>&1 || exit ${lacksTee}
unset autogit_d autogit_l
autogit_d=${quote(controlDir)}
trap : TERM INT HUP
read -r autogit_l
echo $$ >"$autogit_d/keep"
sh -c ${quote(loop)} keeper "$autogit_d" | sh -c ${quote(copy)} keeper "$autogit_d"
exit ${endedFromWithin}`;
}

/**
 * Signals all processes of the container but its keepers: SIGTERM (when there is a grace), SIGKILL after `graceMs`. For an exec as root; prints `left <n>` at its end. It is what a job gets that plays
 * fair: one that owns its sh cannot be ended so, and its container is.
 */
export const ender = (controlDir: string, graceMs: number, record: string): string => `d=${quote(controlDir)}
${record}
signal() {
  keep=" $$ "; n=0
  while read -r k; do keep="$keep$k "; done <"$d/keep"
  for p in /proc/[0-9]*; do
    p=\${p#/proc/}
    case $keep in *" $p "*) continue ;; esac
    read -r stat 2>/dev/null <"/proc/$p/stat" || continue
    case $stat in *") Z "*) continue ;; esac
    kill -s "$1" "$p" 2>/dev/null && n=$((n + 1))
  done
}
pause() { sleep 0.1 2>/dev/null || sleep 1; }
${graceMs > 0 ? 'signal TERM' : 'n=1'}
i=0
while [ $n -gt 0 ] && [ $i -lt ${Math.ceil(graceMs / 100)} ]; do pause; i=$((i + 1)); signal 0; done
i=0
while [ $n -gt 0 ] && [ $i -lt 50 ]; do signal KILL; [ $n -gt 0 ] && pause; i=$((i + 1)); done
echo "left $n"`;

interface ContainerPlan {
  spec: ExecutorSpec;
  image: string;
  node: string;
  nonce: string;
  /** uid:gid as the job sees itself. */
  user: string;
  controlDir: string;
  network: string;
  /** By which what runs beside it reaches it. */
  aliases?: string[];
  /** host:address, e.g. the mesh's GitLab. */
  extraHosts: string[];
  /** What is known of GPUs here; without it NVIDIA's are asked for by its own hook. */
  gpuFacts?: GpuFacts;
  /** The project's tree, where it stays for later jobs. */
  tree?: { mount: Docker.MountSettings; labels: Record<string, string> };
  /** An entrypoint that waits for a line of its input before it begins. */
  held?: string[] | undefined;
  /** CI_BUILDS_DIR, where services have it, too; else the container has one of its own. */
  builds?: Docker.MountSettings | undefined;
  /** The engine's own socket, where the machine's owner lets this job have it. */
  engine?: Docker.MountSettings;
}

/** A volume, as a container has it at a path. */
export const volumeAt = (volume: string, path: string): Docker.MountSettings =>
  ({ Type: 'volume', Source: volume, Target: path, ReadOnly: false }) as Docker.MountSettings;

/**
 * CI_BUILDS_DIR of a job that shares it with no service: gone with its container. A mount, as with gitlab-runner: what empties a container's
 * own file system, as kaniko does between the stages of an image, leaves mounts as they are, and so the job's files and ours.
 */
const ownBuilds = (node: string, run: string): Docker.MountSettings =>
  ({
    Type: 'volume',
    Target: '/builds',
    VolumeOptions: { Labels: { [labels.node]: node, [labels.run]: run } },
  }) as unknown as Docker.MountSettings;

/** What every container of a job may do and use: each for itself, as with gitlab-runner. */
export const jobLimits = (spec: Pick<ExecutorSpec, 'cpuMillis' | 'memoryBytes' | 'runtime'>): HostConfig => ({
  ...(spec.runtime && { Runtime: spec.runtime }),
  CapDrop: ['NET_RAW', 'MKNOD', 'AUDIT_WRITE'],
  Privileged: false,
  RestartPolicy: { Name: 'no' },
  PidsLimit: pidsLimit,
  CpuShares: jobShares,
  ...(spec.cpuMillis !== null && spec.cpuMillis > 0 && { NanoCpus: Math.round(spec.cpuMillis * 1e6) }),
  ...(spec.memoryBytes !== null && spec.memoryBytes > 0 && limitedMemory(spec.memoryBytes)),
});

/** Enough for any server, and of a hundred no more than the process numbers of a small machine. */
const leastPids = 128;

/** Of what is shared out among the `count` services of a job. */
export const sharedLimits = (count: number): HostConfig => ({
  PidsLimit: Math.max(leastPids, Math.floor(pidsLimit / count)),
  CpuShares: Math.max(2, Math.floor(jobShares / count)),
});

/** What comes in front of an entrypoint. A shell reads of a pipe no byte more than its line. */
const holding = 'unset autogit_l; read -r autogit_l; unset autogit_l; exec "$@"';

export function containerOptions(plan: ContainerPlan): ContainerCreateOptions {
  const { spec } = plan;
  const builds = plan.builds ?? ownBuilds(plan.node, spec.run);
  const mounts = [builds, plan.tree?.mount, plan.engine].filter((mount) => mount !== undefined);
  const gpus = gpuOptions(spec.gpus, plan.gpuFacts ?? { cdi: new Set(), nodesOf: deviceNodes });
  return {
    name: containerName(spec.run),
    Image: plan.image,
    // As with the official runner, the image's own entrypoint runs first and is given the shell to begin.
    ...(plan.held && { Entrypoint: ['sh', '-c', holding, 'sh', ...plan.held] }),
    ...(!plan.held && spec.entrypoint !== null && { Entrypoint: spec.entrypoint.length > 0 ? spec.entrypoint : [''] }),
    ...(spec.imageUser && { User: spec.imageUser }),
    Cmd: ['sh', '-c', keeper(plan.controlDir)],
    Env: gpus.env,
    Labels: {
      [labels.node]: plan.node,
      [labels.run]: spec.run,
      [labels.job]: String(spec.job),
      [labels.nonce]: plan.nonce,
      [labels.keeper]: '2',
      [labels.user]: plan.user,
      ...plan.tree?.labels,
    },
    WorkingDir: '/',
    AttachStdin: true,
    OpenStdin: true,
    // The input stays open when the agent's connection to it breaks.
    StdinOnce: false,
    Tty: false,
    HostConfig: {
      ...jobLimits(spec),
      NetworkMode: plan.network,
      ExtraHosts: plan.extraHosts,
      Mounts: mounts,
      ...gpus.host,
      // The keeper's tee has it; see there.
      LogConfig: { Type: 'none', Config: {} },
    },
    ...(plan.aliases && {
      NetworkingConfig: { EndpointsConfig: { [plan.network]: { Aliases: plan.aliases } } },
    }),
  };
}

/** Without swap on top; engines refuse less than 6 MiB. */
const limitedMemory = (bytes: number): { Memory: number; MemorySwap: number } => {
  const memory = Math.max(Math.floor(bytes), 6 << 20);
  return { Memory: memory, MemorySwap: memory };
};

/** The client would put all of the options into the address of the call: only what belongs there goes there. */
export function createContainer(
  docker: Docker,
  { name, ...body }: ContainerCreateOptions,
  platform: string | null | undefined,
): Promise<Docker.Container> {
  const asked = { _query: { name, ...(platform && { platform }) }, _body: body };
  return docker.createContainer(asked as unknown as ContainerCreateOptions);
}
