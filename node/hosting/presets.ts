import type { HostedGitlab } from '../../protocol/ledger-gitlab.ts';

const mib = 2 ** 20;
const gib = 2 ** 30;

/** Figures of GitLab's own pages for machines with little memory, and of its requirements (contract §5, §6). */
export interface Preset {
  /** For people. */
  readonly says: string;
  /** Less on the whole machine, and it is refused. */
  readonly leastMemoryBytes: number;
  /** Its container gets no more: a leak of GitLab's ends GitLab, not the desktop beside it. 0: no limit. */
  readonly memoryLimitBytes: number;
  readonly leastDiskBytes: number;
  readonly shmBytes: number;
  /** 0: one process that forks no workers. */
  readonly pumaWorkers: number;
  readonly sidekiqConcurrency: number;
  readonly sharedBuffersBytes: number;
  /** Prometheus and its exporters: about 300 MB. */
  readonly hasMonitoring: boolean;
  /** The agent server for Kubernetes. */
  readonly hasKas: boolean;
  /** Of pushes and fetches at once in one repository; null: as GitLab has it. */
  readonly gitalyConcurrency: number | null;
  /** Freed memory goes back to the kernel after a second, at the cost of some speed. */
  readonly givesMemoryBack: boolean;
}

export const presets: Readonly<Record<HostedGitlab['preset'], Preset>> = {
  minimal: {
    says: 'up to 5 people, small repositories',
    leastMemoryBytes: 2.5 * gib,
    memoryLimitBytes: 4 * gib,
    leastDiskBytes: 20 * gib,
    shmBytes: 256 * mib,
    pumaWorkers: 0,
    sidekiqConcurrency: 5,
    sharedBuffersBytes: 128 * mib,
    hasMonitoring: false,
    hasKas: false,
    gitalyConcurrency: 3,
    givesMemoryBack: true,
  },
  homelab: {
    says: 'a home lab',
    leastMemoryBytes: 4 * gib,
    memoryLimitBytes: 8 * gib,
    leastDiskBytes: 40 * gib,
    shmBytes: 256 * mib,
    pumaWorkers: 2,
    sidekiqConcurrency: 10,
    sharedBuffersBytes: 256 * mib,
    hasMonitoring: false,
    hasKas: false,
    gitalyConcurrency: 6,
    givesMemoryBack: true,
  },
  team: {
    says: 'up to 50 people',
    leastMemoryBytes: 8 * gib,
    memoryLimitBytes: 16 * gib,
    leastDiskBytes: 100 * gib,
    shmBytes: 512 * mib,
    pumaWorkers: 4,
    sidekiqConcurrency: 20,
    sharedBuffersBytes: gib,
    hasMonitoring: false,
    hasKas: true,
    gitalyConcurrency: null,
    givesMemoryBack: false,
  },
  beast: {
    says: 'all that the machine has',
    leastMemoryBytes: 16 * gib,
    memoryLimitBytes: 0,
    leastDiskBytes: 200 * gib,
    shmBytes: gib,
    pumaWorkers: 8,
    sidekiqConcurrency: 40,
    sharedBuffersBytes: 4 * gib,
    hasMonitoring: true,
    hasKas: true,
    gitalyConcurrency: null,
    givesMemoryBack: false,
  },
};
