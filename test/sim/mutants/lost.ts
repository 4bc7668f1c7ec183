import { jobs, type Mutant, one } from './mutant.ts';

/** When a run is lost, and what goes on meanwhile (SAFETY J1). */
export const lostMutants: Mutant[] = [
  one(
    'another try asked for before it is committed',
    'J10',
    jobs('faults'),
    "Object.entries(committed.faults ?? {})) {\n    if (retry !== 'wanted' || ledger.faults?.[run]?.retry !== 'wanted') continue;",
    "Object.entries(ledger.faults ?? {})) {\n    if (retry !== 'wanted') continue;",
  ),
  one('tried again without a budget', 'J10', jobs('faults'), 'if (tries >= limits.retriesPerJob)', 'if (false)'),
  one(
    'lost told to GitLab before commit',
    'J1',
    jobs('lost-runs'),
    'of Object.values(committed.runs)) {',
    'of Object.values((ledger ?? committed).runs).filter((lost) => lost.state === "lost")) {\n    committed.runs[run.run]?.state !== "lost" && turn.effects.push({ kind: "fail-run", run, because: run.because });',
  ),
  one(
    'silent node lost too soon',
    'J1',
    jobs('lost-runs'),
    'Math.max(leastMs, ageMs / 10)',
    'Math.max(200, ageMs / 1000)',
    'stories',
  ),
  one(
    'a recovered mesh trusts its leader alone',
    'J1',
    'scheduler/views.ts',
    'isRecovering(state) ? Number.NEGATIVE_INFINITY : leaderContactAt(state)',
    'leaderContactAt(state)',
    'stories',
  ),
  one(
    'silence costs a run of a former era',
    'J1',
    'scheduler/recovered.ts',
    'unseenIn(ledger).includes(node) && ledger',
    'false && ledger',
    'stories',
  ),
  one('deaf machine lost like a silent one', 'J1', jobs('away'), 'jobTimings.deafAfterMs', 'Infinity', 'stories'),
  one('dead agent lost too soon', 'J1', jobs('job-timings'), 'sharedTimings.adoptionMs', '300', 'kills'),
  {
    name: 'lost run comes back',
    rule: 'J1',
    hunt: 'long',
    patches: [
      {
        file: jobs('run-edits'),
        find: "if (known.state === 'lost') return said.state === 'delivered' ?",
        replace: "if (known.state === 'lost') return said.state !== 'lost' ?",
      },
    ],
  },
];
