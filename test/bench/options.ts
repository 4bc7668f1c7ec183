import { parseSize } from '../../node/settings/quantities.ts';
import { jobsKeys } from './jobs/jobs-rows.ts';
import { moveKeys } from './move/move-rows.ts';
import { pageKeys } from './page-rows.ts';
import { protectKeys } from './protect/protect-rows.ts';

/** What `npm run bench -- …` was asked for. */
export interface BenchOptions {
  /** `mesh`: the four figures of issue 2. `failover`: the table of issue 3. `jobs`: that of issue 11. `crowd`: many agents. `trust`: hostile jobs. `core`: the agent itself. `prove`: replica and gate of a hosted GitLab. `protect`: the table of issue 9. `move`: that of issue 10. `page`: what those who look cost and wait for. */
  what: 'mesh' | 'failover' | 'jobs' | 'crowd' | 'trust' | 'core' | 'prove' | 'protect' | 'move' | 'page';
  trials: number;
  /** Fresh starts of three agents. */
  starts: number;
  /** How many agents are a crowd. */
  agents: number;
  /** Seconds under load in the rows of leader changes without a failure, and of a page that is left open. Null: 45, of a crowd 300, of a page 900. */
  stressSeconds: number | null;
  /** Bytes of an artifact in `protect`, of a cache and a repository in `jobs`. Null: 2 GiB and 1 GiB. */
  sizeBytes: number | null;
  /** How many jobs are `flood` and `row` of `jobs`. Null: 500 and 5,000. */
  jobs: number | null;
  json: string | null;
  /** The commit whose build the rows of `core` are compared with. */
  before: string;
  /** Parts of the table to run; empty = all. For work on one row: a table with parts missing says so. */
  only: string[];
}

export const usage = `npm run bench -- [failover|jobs|crowd|trust|core|prove|protect|move|page] [--trials N] [--starts N] [--agents N] [--stress SECONDS] [--before COMMIT] [--size SIZE] [--jobs N] [--only part,part] [--json FILE]
parts of failover: ${['death', 'vanish', 'calm', 'handover', 'start', 'notice', 'commit', 'idle'].join(', ')}
parts of trust: turns, ends, artifacts, artifacts-many, artifacts-large; each with -process or -docker for one executor
parts of core: version, idle, sim, stranger, job-load, bulk-100, bulk-1000, crowd-load
parts of prove: gate, forward, name, cuts, pushes, rounds
parts of protect: ${protectKeys.join(', ')}
parts of jobs: ${jobsKeys.join(', ')}
parts of move: ${moveKeys.join(', ')}
parts of page: ${pageKeys.join(', ')}`;

/** Throws a sentence for the user. */
export function readOptions(args: readonly string[]): BenchOptions {
  const options: BenchOptions = {
    what: 'mesh',
    trials: 20,
    starts: 20,
    agents: 30,
    stressSeconds: null,
    sizeBytes: null,
    jobs: null,
    json: null,
    before: '33487ad',
    only: [],
  };
  const rest = [...args];
  const count = (name: string): number => {
    const value = Number(rest.shift());
    if (!Number.isInteger(value) || value < 1) throw new Error(`${name} takes a whole number from 1\n${usage}`);
    return value;
  };
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (['failover', 'jobs', 'crowd', 'trust', 'core', 'prove', 'protect', 'move', 'page'].includes(arg))
      options.what = arg as BenchOptions['what'];
    else if (arg === '--trials') options.trials = count(arg);
    else if (arg === '--starts') options.starts = Math.min(100, count(arg));
    else if (arg === '--agents') options.agents = Math.min(60, Math.max(3, count(arg)));
    else if (arg === '--stress') options.stressSeconds = count(arg);
    else if (arg === '--jobs') options.jobs = count(arg);
    else if (arg === '--before') options.before = rest.shift() ?? options.before;
    else if (arg === '--only') options.only = (rest.shift() ?? '').split(',').filter((part) => part !== '');
    else if (arg === '--size') options.sizeBytes = parseSize(rest.shift() ?? '');
    else if (arg === '--json') options.json = rest.shift() ?? null;
    else throw new Error(`unknown: ${arg}\n${usage}`);
  }
  return options;
}
