import { randomBytes } from 'node:crypto';
import type Docker from 'dockerode';
import { AutogitError } from '../../protocol/errors.ts';
import type { ExecutorSpec, Workspace } from '../ports.ts';
import type { DockerConnection } from './docker-connection.ts';
import { containerName, containerOptions, createContainer } from './docker-container.ts';
import { removeContainer } from './docker-ending.ts';
import { saidBy, startErrorCode, statusOf } from './docker-engine.ts';
import type { FoundImage } from './docker-image.ts';
import { runBridge } from './docker-network.ts';
import { removeContainers } from './docker-removal.ts';
import { controlDir, type DockerRun } from './docker-run.ts';
import type { DockerServices } from './docker-services.ts';
import type { DockerTree } from './docker-trees.ts';
import { lookUpUser } from './docker-user.ts';
import type { DockerWorkspace } from './docker-workspace.ts';
import { engineOf } from './engine-for-jobs.ts';
import { cdiDevices, deviceNodes } from './gpu-options.ts';
import type { JobPaths } from './job-shell.ts';

export interface NewContainer {
  spec: ExecutorSpec;
  /** Of its image, as the job says it. */
  name: string;
  image: FoundImage;
  network: string;
  paths: JobPaths;
  signal: AbortSignal;
  beside: DockerServices | null;
  tree: DockerTree | null;
  aliases?: string[];
  builds?: Docker.MountSettings;
  onHeld?: (release: () => Promise<void>) => void;
}

/** The run's container as an earlier call or agent process left it. */
export interface FoundContainer {
  workspace: DockerWorkspace;
  containerId: string;
  /** A step of the job has begun in it. */
  hasBegun: boolean;
}

/** What of its executor a container is made with. */
export interface ContainerMaker {
  engine: Pick<DockerConnection, 'docker' | 'info' | 'address'>;
  node: string;
  extraHosts: string[];
  places: { sys: string; dev: string } | undefined;
  engineForJobs: readonly string[] | undefined;
  note: ((run: string, sentence: string) => void) | undefined;
  find(spec: ExecutorSpec, tree: DockerTree | null): Promise<FoundContainer | null>;
  workspace(
    docker: Docker,
    spec: ExecutorSpec,
    containerId: string,
    made: Pick<DockerRun, 'nonce' | 'keeper' | 'memoryBytes' | 'services' | 'hasBridge' | 'tree'>,
    user: { uid: number; gid: number },
  ): DockerWorkspace;
}

/** The job's own container, made and started. Whatever fails, its tree is given back: each later job of its project would wait for it. */
export async function beginContainer(how: NewContainer, maker: ContainerMaker): Promise<Workspace> {
  try {
    how.signal.throwIfAborted();
    return await begun(how, maker);
  } catch (cause) {
    await how.tree?.give();
    throw cause;
  }
}

async function begun(how: NewContainer, maker: ContainerMaker): Promise<Workspace> {
  const { spec, name, image, network, paths, signal, beside, aliases, tree, builds, onHeld } = how;
  const { engine, node, extraHosts, places } = maker;
  const docker = await engine.docker();
  const entrypoint = (spec.entrypoint ?? image.entrypoint).filter((word) => word !== '');
  const held = onHeld && entrypoint.length > 0 ? (spec.entrypoint ?? image.entrypoint) : undefined;
  const nonce = randomBytes(16).toString('hex');
  const wantedUser = spec.imageUser ?? image.user;
  let user = numericUser(wantedUser);
  const cdi = spec.gpus.length > 0 ? cdiDevices(await engine.info()) : new Set<string>();
  const options = containerOptions({
    gpuFacts: { cdi, nodesOf: (uuid) => deviceNodes(uuid, places) },
    ...{ spec, node, nonce, network, image: image.id, user: wantedUser },
    controlDir: controlDir(paths),
    extraHosts,
    ...(aliases && { aliases }),
    builds,
    held,
    ...(tree && { tree: tree.options(paths.projectDir) }),
    ...engineOf(
      spec,
      { ...(maker.engineForJobs && { engineForJobs: maker.engineForJobs }), ...(maker.note && { note: maker.note }) },
      engine.address,
    ),
  });
  const hasBridge = beside === null && network === runBridge(spec.run);
  const made = { nonce, keeper: 2 as const, memoryBytes: spec.memoryBytes, hasBridge, tree };
  let found: Workspace | null = null;
  let container: Docker.Container | null = null;
  try {
    container = await createContainer(docker, options, spec.platform).catch(async (cause: unknown) => {
      if (statusOf(cause) !== 409) throw cause;
      found = await ofName(docker, how, maker);
      return found ? null : createContainer(docker, options, spec.platform);
    });
  } catch (cause) {
    throw cannot('create', name, cause);
  }
  if (found) return found;
  const its = container as Docker.Container;
  try {
    user ??= await lookUpUser(its, spec.run, wantedUser);
    await tree?.ownedBy(user);
    const workspace = maker.workspace(docker, spec, its.id, { ...made, services: beside }, user);
    await workspace.attach();
    await its.start();
    signal.throwIfAborted();
    if (held) onHeld?.(() => workspace.release());
    return workspace;
  } catch (cause) {
    await removeContainer(its).catch(() => undefined);
    signal.throwIfAborted();
    throw cannot('start', name, cause);
  }
}

/**
 * SAFETY J4: containers are named by their run, so a name that is taken is this run, from before a crash, or of a call that was not
 * answered. One in which a step has begun is the run, and no step of it begins again. Of any other one nothing has run, and it is made
 * anew (null): of one with services nobody knows whether its entrypoint was let go, and its tree is this try's, which knows what is left in it.
 */
async function ofName(
  docker: Docker,
  { spec, beside, tree }: NewContainer,
  maker: ContainerMaker,
): Promise<Workspace | null> {
  if (beside) {
    await removeContainer(docker.getContainer(containerName(spec.run)));
    return null;
  }
  const found = await maker.find(spec, tree);
  if (found === null) return null;
  if (!found.hasBegun) await removeContainers(docker, [found.containerId]);
  else if (found.workspace.tree !== tree) await tree?.give();
  return found.hasBegun ? found.workspace : null;
}

/** As an image or a job says who runs it; null for a name, which only the container knows. */
function numericUser(said: string): { uid: number; gid: number } | null {
  const found = /^(\d*)(?::(\d+))?$/.exec(said);
  return found && { uid: Number(found[1] || 0), gid: Number(found[2] ?? 0) };
}

function cannot(what: 'create' | 'start', image: string, cause: unknown): AutogitError {
  const because = saidBy(cause);
  const lacksShell = what === 'start' && /exec: "sh"|^(?!.*exec: ").*no such file/.test(because);
  return new AutogitError(startErrorCode(cause), `cannot ${what} a container of ${image}: ${because}`, {
    cause,
    ...(lacksShell && { hint: `image ${image} has no sh, which a job needs` }),
  });
}
