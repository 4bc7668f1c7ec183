import { existsSync } from 'node:fs';
import { nvidiaDriver } from '../machine/nvidia-smi.ts';

/** What an engine says of itself, as far as GPUs of containers go. */
interface EngineInfo {
  Runtimes?: Record<string, unknown> | null | undefined;
  /** Engines from 28 on: devices that CDI files name. */
  DiscoveredDevices?: readonly { ID?: string | undefined }[] | null | undefined;
}

const hooks = ['/usr/bin', '/usr/local/bin', '/usr/sbin', '/usr/local/sbin'].flatMap((folder) => [
  `${folder}/nvidia-container-runtime-hook`,
  `${folder}/nvidia-container-toolkit`,
]);

export const toolkitFix =
  'install the NVIDIA Container Toolkit (package nvidia-container-toolkit), then: sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker';

/** What a node says of its GPUs; short enough for a report. */
export const toolkitProblem = `docker jobs need the NVIDIA Container Toolkit on this machine: install nvidia-container-toolkit, then: sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker`;

export const hasDriver = (exists: (path: string) => boolean = existsSync): boolean => exists(nvidiaDriver);

/**
 * True when this machine has NVIDIA's driver but its engine has no way to give a GPU to a container: no runtime, no CDI
 * device, no hook (newcomer B6: the first GPU job failed with the engine's own words).
 */
export function lacksToolkit(info: EngineInfo, exists: (path: string) => boolean = existsSync): boolean {
  if (!hasDriver(exists)) return false;
  if (Object.keys(info.Runtimes ?? {}).some((name) => name.startsWith('nvidia'))) return false;
  if ((info.DiscoveredDevices ?? []).some(({ ID }) => ID?.startsWith('nvidia.com/gpu'))) return false;
  return !hooks.some(exists);
}
