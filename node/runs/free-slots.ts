import type { RunFacts } from '../../gitlab-bridge/variables.ts';

interface SlotHolder {
  isOver: boolean;
  slots: RunFacts['slots'];
  run: { projectId: number };
}

/** The least numbers that no running job has (CI_CONCURRENT_ID): people name ports and databases by them. */
export function freeSlots(all: readonly SlotHolder[], projectId: number): RunFacts['slots'] {
  const lives = all.filter((life) => !life.isOver);
  const least = (taken: number[]): number => {
    for (let slot = 0; ; slot++) if (!taken.includes(slot)) return slot;
  };
  const ofProject = lives.filter(({ run }) => run.projectId === projectId);
  return {
    all: least(lives.map(({ slots }) => slots.all)),
    project: least(ofProject.map(({ slots }) => slots.project)),
  };
}
