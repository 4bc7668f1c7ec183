import type { NodeId } from '../../protocol/ids.ts';
import { jobTimings } from '../jobs/job-timings.ts';
import type { ViewInput } from '../snapshot-view.ts';

/** What one machine uses now, by its newest report, each from 0 to 1. */
export interface UsageSample {
  cpu: number;
  memory: number;
  /** By uuid. */
  gpus: Record<string, { load: number; memory: number }>;
}

/** Whatever uses it, jobs or not. Machines whose report is too old have no sample. */
export function usageSamples({ jobs, ledger, at }: ViewInput): Record<NodeId, UsageSample> {
  const samples: Record<NodeId, UsageSample> = {};
  for (const node of Object.keys(ledger?.nodes ?? {})) {
    const heard = jobs.reports[node];
    if (heard === undefined || at - heard.at > jobTimings.reportStaleMs) continue;
    const { capacity, usedCpuMillis, usedMemoryBytes, gpus } = heard.report.measured;
    samples[node] = {
      cpu: share(usedCpuMillis, capacity.cpuMillis),
      memory: share(usedMemoryBytes, capacity.memoryBytes),
      gpus: Object.fromEntries(
        gpus.map(({ uuid, busyPercent, usedBytes }) => {
          const all = capacity.gpus.find((gpu) => gpu.uuid === uuid)?.memoryBytes ?? 0;
          return [uuid, { load: share(busyPercent, 100), memory: share(usedBytes, all) }];
        }),
      ),
    };
  }
  return samples;
}

const share = (part: number, all: number): number => (all > 0 ? Math.min(1, Math.max(0, part / all)) : 0);
