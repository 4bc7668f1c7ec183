import type { ExecutorSpec } from '../ports.ts';

/** Of the engine's /info: what it can limit. An engine that runs without root has the controllers that its user was given. */
interface EngineLimits {
  MemoryLimit?: boolean | null | undefined;
  CpuCfsQuota?: boolean | null | undefined;
  PidsLimit?: boolean | null | undefined;
}

/** What this engine cannot limit, in words; empty where it can limit all, or does not say. */
export const notLimited = ({ MemoryLimit, CpuCfsQuota, PidsLimit }: EngineLimits): string[] => [
  ...(MemoryLimit === false ? ['memory'] : []),
  ...(CpuCfsQuota === false ? ['CPU'] : []),
  ...(PidsLimit === false ? ['the number of processes'] : []),
];

export const limitsFix =
  'boot it with cgroup v2, and give its users the controllers: Delegate=cpu cpuset io memory pids below [Service] in /etc/systemd/system/user@.service.d/delegate.conf';

/**
 * A job as this engine can have it, and a sentence on what is not held. A container with a CPU limit is refused by an engine that has no
 * such controller, so it is made without; the other limits it leaves out by itself.
 */
export function withinEngine<T extends Pick<ExecutorSpec, 'cpuMillis'>>(
  spec: T,
  limits: EngineLimits,
  note: (sentence: string) => void,
): T {
  const missing = notLimited(limits);
  if (missing.length === 0) return spec;
  note(`WARNING: the engine of this machine cannot limit ${missing.join(', ')}: the job has none of these limits`);
  return limits.CpuCfsQuota === false ? { ...spec, cpuMillis: null } : spec;
}
