import type { TestGitlab, TestMachine } from '../e2e/rig.ts';

/** What the rows of the page are measured on: seven machines, and 200 jobs of which some run and the rest wait. */
export interface PageStage {
  machines: TestMachine[];
  leader: TestMachine;
  gitlab: TestGitlab;
  trials: number;
  say(line: string): void;
}

/** Who is measured: the machine that leads, which knows all, and one that asks it for the jobs. */
export function leaderAndOther({ leader, machines }: PageStage): [who: string, machine: TestMachine][] {
  const other = machines.find((machine) => machine !== leader) as TestMachine;
  return [
    ['the leader', leader],
    ['another machine', other],
  ];
}
