import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import type Docker from 'dockerode';
import { type Disk, deviceOf, diskOf, usedBy } from '../disk-use.ts';
import { withLimit } from './docker-engine.ts';
import { idsBeside } from './docker-services.ts';
import { groupOfContainer } from './run-cgroup.ts';

/** The engine walks the layer: one of millions of files is not waited for. */
const limitMs = 5000;

/**
 * Bytes that a run's container, and those beside it, have of this machine's disk: their writable layers, and their volumes:
 * the job's own, and those that their images declare. 0 when the engine's folder lies on another disk or the engine on another machine; without what it does
 * not answer in time.
 */
export async function runBytes(docker: Docker, handle: string, device: number): Promise<number> {
  try {
    const { DockerRootDir } = (await withLimit(docker.info(), limitMs)) as { DockerRootDir?: string };
    if (!DockerRootDir || deviceOf(DockerRootDir) !== device) return 0;
    const beside = await withLimit(idsBeside(docker, handle), limitMs).catch(() => []);
    const seen = new Set<string>();
    const bytes = await Promise.all([handle, ...beside].map((one) => containerBytes(docker, one, device, seen)));
    return bytes.reduce((sum, one) => sum + one, 0);
  } catch {
    return 0;
  }
}

/** `seen`: paths of volumes that are counted already, as others of the job have them too. */
async function containerBytes(docker: Docker, handle: string, device: number, seen: Set<string>): Promise<number> {
  const abortSignal = AbortSignal.timeout(limitMs);
  try {
    const container = docker.getContainer(handle);
    const asked = container.inspect({ size: true, abortSignal } as Docker.ContainerInspectOptions);
    const { Id, State, Mounts, SizeRw } = (await withLimit(asked, limitMs)) as Awaited<typeof asked> & {
      SizeRw?: number;
    };
    // The same path may well be on the machine where an engine elsewhere is asked from.
    if (groupOfContainer(Id, State.Pid) === null) return 0;
    const volumes = (Mounts ?? []).filter(({ Type, Source }) => Type === 'volume' && !seen.has(Source));
    for (const { Source } of volumes) seen.add(Source);
    const sizes = await Promise.all(
      volumes.map(({ Name = '', Source }) =>
        // Where only root comes to it the engine is asked.
        deviceOf(Source) === null ? volumeBytes(docker, Name, Source, limitMs) : usedBy(Source, device),
      ),
    );
    return sizes.reduce<number>((sum, bytes) => sum + (bytes ?? 0), SizeRw ?? 0);
  } catch {
    return 0;
  }
}

/** Of a volume, as the agent sees it, or, where only root comes to it, as the engine says. Null: neither knows. */
export async function volumeBytes(
  docker: Docker,
  name: string,
  path: string,
  timeoutMs: number,
): Promise<number | null> {
  const device = deviceOf(path);
  if (device !== null) return usedBy(path, device, timeoutMs);
  const asked = docker.df() as Promise<{ Volumes?: { Name: string; UsageData?: { Size?: number } | null }[] | null }>;
  const said = await withLimit(asked, timeoutMs).catch(() => null);
  const bytes = said?.Volumes?.find(({ Name }) => Name === name)?.UsageData?.Size ?? -1;
  return bytes < 0 ? null : bytes;
}

/** Of a volume, or of the engine's folder that it lies in, which is there for all to ask of. */
export async function diskOfVolume(path: string): Promise<Disk | null> {
  const engines = dirname(dirname(dirname(path)));
  return statfs(path)
    .catch(() => statfs(engines))
    .then(diskOf, () => null);
}
