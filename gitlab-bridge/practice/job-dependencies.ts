import type { Job } from './records.ts';

/** The jobs whose artifacts this job downloads: its needs (or all earlier stages), narrowed by `dependencies`. */
export const dependenciesOf = (job: Job, latest: readonly Job[]): Job[] => {
  const { needs, dependencies } = job.spec;
  const before =
    needs === null
      ? latest.filter((other) => other.stageIdx < job.stageIdx)
      : latest.filter((other) => needs.some((need) => need.job === other.name && need.artifacts));
  return dependencies === null ? before : before.filter((other) => dependencies.includes(other.name));
};
