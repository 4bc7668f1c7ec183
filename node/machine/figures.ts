import { availableParallelism, totalmem } from 'node:os';
import { sysfsGpus } from './gpu-sysfs.ts';
import { NvidiaSmi } from './nvidia-smi.ts';

/** What this machine has, looked at once. */
export interface MachineFigures {
  readonly cores: number;
  readonly memoryBytes: number;
  readonly gpus: readonly { readonly model: string; readonly memoryBytes: number }[];
}

/** All GPUs, and what the NVIDIA driver said. `memoryBytes`: of a card that shares the machine's. */
export async function gpusHere(memoryBytes: number) {
  const [nvidia, others] = await Promise.all([new NvidiaSmi(memoryBytes).sample(), sysfsGpus()]);
  return { nvidia, gpus: [...nvidia.samples, ...others].map(({ gpu }) => gpu) };
}

export async function machineFigures(): Promise<MachineFigures> {
  const memoryBytes = totalmem();
  const { gpus } = await gpusHere(memoryBytes);
  return { cores: availableParallelism(), memoryBytes, gpus };
}
