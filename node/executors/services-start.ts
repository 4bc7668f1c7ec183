import type Docker from 'dockerode';
import type { PlannedService } from '../../gitlab-bridge/job-services.ts';
import type { ExecutorSpec, Workspace } from '../ports.ts';
import type { FoundImage } from './docker-image.ts';
import { ensureRunBridge } from './docker-network.ts';
import { DockerServices, removeWholeRun, type ServicesPlace, servicesWaitMs } from './docker-services.ts';
import type { DockerTree } from './docker-trees.ts';
import { ensureRunBuilds } from './docker-volumes.ts';

/** The name of a job's own container for its services, as with gitlab-runner. */
const ownAlias = 'build';

interface StartWithServices extends ServicesPlace {
  spec: ExecutorSpec;
  planned: PlannedService[];
  isPodman: boolean;
  /** What the last job of the project left, where it stays; asked for when nothing of a try before this one is left. */
  takeTree(signal: AbortSignal): Promise<{ mount: Docker.MountSettings; tree: DockerTree } | null>;
  extraHosts: string[];
  /** ms; by default as gitlab-runner. */
  waitMs: number | undefined;
  note: (sentence: string) => void;
  signal: AbortSignal;
  /** The job's own image. */
  ownImage(signal: AbortSignal): Promise<FoundImage>;
  imageOf(spec: ExecutorSpec, image: string, signal: AbortSignal): Promise<FoundImage>;
  /** The job's own container. */
  begin(made: {
    image: FoundImage;
    network: string;
    aliases: string[];
    tree: DockerTree | null;
    builds: Docker.MountSettings;
    /** Its entrypoint waits until this is called, as with gitlab-runner; not called where the image has none. */
    onHeld(release: () => Promise<void>): void;
    beside: DockerServices;
    signal: AbortSignal;
  }): Promise<Workspace>;
  /** The place stands; no service runs before this resolves (SAFETY J1). */
  onMade(place: Workspace): Promise<void>;
}

/**
 * A job's place with services: images at once, then all containers, of which only the job's own runs. That makes known
 * where the others will be, so that they are watched before they begin (SAFETY J1): an agent that dies from here on leaves
 * nothing that its watchdog does not freeze. When this throws nothing of it works on, and nothing is left but what an engine that is away keeps.
 */
export async function startWithServices(how: StartWithServices): Promise<Workspace> {
  // What a try before this one left: its calls were not answered, or its agent was ended. Nothing has begun in its own
  // container, and on the bridge of this try it would not be.
  await removeWholeRun(how);
  const stop = new AbortController();
  const signal = AbortSignal.any([how.signal, stop.signal]);
  const together = async <T extends readonly unknown[]>(...parts: { [K in keyof T]: Promise<T[K]> }): Promise<T> => {
    try {
      return (await Promise.all(parts)) as unknown as T;
    } catch (error) {
      stop.abort();
      await Promise.allSettled(parts);
      throw error;
    }
  };
  const kept = await how.takeTree(signal);
  try {
    const { spec, planned, note } = how;
    const [image, network, builds, images] = await together(
      how.ownImage(signal),
      ensureRunBridge(how.docker, how.node, how.run, how.isPodman),
      ensureRunBuilds(how.docker, how.node, how.run),
      Promise.all(
        planned.map((service) => {
          note(`Starting service ${service.title}...`);
          const { pullPolicies, platform } = service;
          return how.imageOf({ ...spec, pullPolicies, platform }, service.image, signal);
        }),
      ),
    );
    signal.throwIfAborted();
    const services = planned.map((service, at) => ({ planned: service, imageId: (images[at] as FoundImage).id }));
    const beside = new DockerServices(how);
    const isTaken = planned.some(({ aliases }) => aliases.includes(ownAlias));
    let release = async (): Promise<void> => undefined;
    const onHeld = (its: () => Promise<void>): void => {
      release = its;
    };
    const [workspace] = await together(
      how.begin({
        ...{ image, network, aliases: isTaken ? [] : [ownAlias], beside, signal },
        ...{ tree: kept?.tree ?? null, builds, onHeld },
      }),
      beside.create({ ...how, network, services, mounts: [builds, ...(kept ? [kept.mount] : [])] }),
    );
    await how.onMade(workspace);
    signal.throwIfAborted();
    await beside.start(signal);
    await beside.ready(how.waitMs ?? servicesWaitMs, note, signal);
    await release();
    return workspace;
  } catch (error) {
    // The job's own container may stand already, and no one has been told of it.
    await removeWholeRun(how).catch(() => undefined);
    await kept?.tree.give();
    throw error;
  }
}
