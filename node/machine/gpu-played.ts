import type { PlayedGpu } from '../settings/settings.ts';
import type { GpuSample } from './gpu-nvidia.ts';

/** What a model's name ends with when there is no such GPU: everything that shows it says that it plays. */
const playedMark = '(played)';

const vendorOf = (model: string): 'nvidia' | 'amd' | 'intel' =>
  /\bArc\b/i.test(model) ? 'intel' : /\b(RX|Radeon|Instinct|MI\d+)\b/i.test(model) ? 'amd' : 'nvidia';

/** GPUs that are not there, for tests and the demo: always free, never measured. */
export const playedGpus = (played: readonly PlayedGpu[]): GpuSample[] =>
  played.map(({ model, memoryBytes }, index) => ({
    gpu: { uuid: `played-${index}`, vendor: vendorOf(model), model: `${model} ${playedMark}`, memoryBytes },
    usedBytes: 0,
    busyPercent: 0,
    processes: [],
  }));
