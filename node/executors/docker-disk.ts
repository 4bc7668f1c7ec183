import type Docker from 'dockerode';
import { deviceOf, usedBy } from '../disk-use.ts';
import { withLimit } from './docker-engine.ts';
import { idsBeside } from './docker-services.ts';
import { groupOfContainer } from './run-cgroup.ts';

/** The engine walks the layer: one of millions of files is not waited for. */
const limitMs = 5000;

/**
 * Bytes that a run's container, and those beside it, have of this machine's disk: their writable layers, and the volumes that
 * their images declare. 0 when the engine's folder lies on another disk or the engine on another machine; without what it does
 * not answer in time.
 */
export async function runBytes(docker: Docker, handle: string, device: number): Promise<number> {
  try {
    const { DockerRootDir } = (await withLimit(docker.info(), limitMs)) as { DockerRootDir?: string };
    if (!DockerRootDir || deviceOf(DockerRootDir) !== device) return 0;
    const beside = await withLimit(idsBeside(docker, handle), limitMs).catch(() => []);
    const bytes = await Promise.all([handle, ...beside].map((one) => containerBytes(docker, one, device)));
    return bytes.reduce((sum, one) => sum + one, 0);
  } catch {
    return 0;
  }
}

async function containerBytes(docker: Docker, handle: string, device: number): Promise<number> {
  const abortSignal = AbortSignal.timeout(limitMs);
  try {
    const container = docker.getContainer(handle);
    const asked = container.inspect({ size: true, abortSignal } as Docker.ContainerInspectOptions);
    const { Id, State, Mounts, SizeRw } = (await withLimit(asked, limitMs)) as Awaited<typeof asked> & {
      SizeRw?: number;
    };
    // The same path may well be on the machine where an engine elsewhere is asked from.
    if (groupOfContainer(Id, State.Pid) === null) return 0;
    const volumes = (Mounts ?? []).filter((mount) => mount.Type === 'volume');
    const sizes = await Promise.all(volumes.map(({ Source }) => usedBy(Source, device)));
    return sizes.reduce((sum, bytes) => sum + bytes, SizeRw ?? 0);
  } catch {
    return 0;
  }
}
