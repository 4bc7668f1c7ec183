import { availableParallelism, totalmem } from 'node:os';
import { sysfsGpus } from './gpu-sysfs.ts';
import { NvidiaSmi } from './nvidia-smi.ts';

/** What this machine has, looked at once. */
export interface MachineFigures {
  readonly cores: number;
  readonly memoryBytes: number;
  readonly gpus: readonly { readonly model: string; readonly memoryBytes: number }[];
}

export async function machineFigures(): Promise<MachineFigures> {
  const memoryBytes = totalmem();
  const [nvidia, others] = await Promise.all([new NvidiaSmi(memoryBytes).sample(), sysfsGpus()]);
  const gpus = [...nvidia.samples, ...others].map(({ gpu }) => ({ model: gpu.model, memoryBytes: gpu.memoryBytes }));
  return { cores: availableParallelism(), memoryBytes, gpus };
}
