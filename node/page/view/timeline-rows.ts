import type { TimelineEvent } from '../../../protocol/history.ts';

export const timelineGroups = {
  all: 'everything',
  mesh: 'the mesh',
  jobs: 'jobs',
  gitlab: 'GitLab',
} as const;
export type TimelineGroup = keyof typeof timelineGroups;

const kinds: Record<Exclude<TimelineGroup, 'all'>, readonly TimelineEvent['kind'][]> = {
  mesh: ['election', 'member', 'approval', 'owner', 'attention'],
  jobs: ['job', 'lost-run'],
  gitlab: ['gitlab', 'move', 'backup'],
};

/** Events on the page at most; the others are a button away. */
export const eventsShown = 40;

/** The newest first. */
export const timelineRows = (events: readonly TimelineEvent[], group: TimelineGroup): TimelineEvent[] =>
  events.filter(({ kind }) => group === 'all' || kinds[group].includes(kind)).reverse();
