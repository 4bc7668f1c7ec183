/** One planted bug: exact text patches of production files, each of which must match exactly once. */
export interface Mutant {
  name: string;
  /** The rule that it breaks, as SAFETY or DESIGN numbers it. */
  rule: string;
  /** Where it is best hunted: the flags are in hunt.ts. */
  hunt:
    | 'storm'
    | 'common'
    | 'long'
    | 'cuts'
    | 'rollbacks'
    | 'recoveries'
    | 'recovered'
    | 'stormyKills'
    | 'duels'
    | 'split'
    | 'kills'
    | 'lag'
    | 'rogues'
    | 'hosts'
    | 'slowHosts'
    | 'recoveredHosts'
    | 'failingHosts'
    | 'rebootedHosts'
    | 'sleepingHosts'
    | 'lostHosts'
    | 'cutHosts'
    | 'leavingHosts'
    | 'roundHosts'
    | 'calmHosts'
    | 'movingHosts'
    | 'twoSides'
    | 'bothRecovered'
    | 'hiccups'
    | 'stories';
  patches: { file: string; find: string; replace: string }[];
}

export const one = (
  name: string,
  rule: string,
  file: string,
  find: string,
  replace: string,
  hunt?: Mutant['hunt'],
): Mutant => ({
  name,
  rule,
  hunt: hunt ?? (rule.startsWith('L') ? 'storm' : 'common'),
  patches: [{ file, find, replace }],
});

/** Several in the files of one folder, each with that hunt unless another one is said. */
export const plantedIn =
  (pathOf: (file: string) => string, usual: Mutant['hunt']) =>
  (name: string, rule: string, file: string, find: string, replace: string, hunt: Mutant['hunt'] = usual): Mutant =>
    one(name, rule, pathOf(file), find, replace, hunt);
export const hosting = (file: string): string => `scheduler/hosting/${file}.ts`;
export const raft = (file: string): string => `scheduler/raft/${file}.ts`;
export const jobs = (file: string): string => `scheduler/jobs/${file}.ts`;
