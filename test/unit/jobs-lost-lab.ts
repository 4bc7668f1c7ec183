import type { Run } from '../../protocol/ledger.ts';
import { Lab, type LabOptions, wallStart } from './jobs-lab.ts';
import { labRun, measured } from './jobs-lab-machines.ts';

/** Wall time by which the ages of runs count. */
export const start = wallStart + 1_000_000;

/** kang leads; desktop-1 has had a run for `ageMs`, and says so. */
export function withRun(over: Partial<Run> = {}, options: LabOptions = {}, ageMs = 0): Lab {
  const run = labRun({
    run: 'r1',
    job: 4815,
    node: 'desktop-1',
    takenAt: start - ageMs,
    boot: 'boot-desktop-1',
    ...over,
  });
  const lab = new Lab({
    machines: { kang: measured(), 'desktop-1': measured() },
    ...options,
    ledger: (ledger) => {
      const withIt = { ...ledger, runs: { [run.run]: run } };
      return options.ledger ? options.ledger(withIt) : withIt;
    },
  });
  lab.feed('desktop-1', { kind: 'run-changed', run });
  lab.run(2500);
  return lab;
}

export const shown = (lab: Lab): Run => {
  const run = lab.committed.runs.r1;
  if (!run) throw new Error('the run is not in the ledger');
  return run;
};

/** Boot time until the run is lost, from now. */
export function untilLost(lab: Lab, patienceMs: number): number {
  const began = lab.at;
  while (shown(lab).state !== 'lost' && lab.at < began + patienceMs) lab.run(100);
  return lab.at - began;
}
