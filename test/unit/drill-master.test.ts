import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { GitlabClones } from '../../node/hosting/clone/gitlab-clones.ts';
import { type Drillable, DrillMaster } from '../../node/hosting/drill/drill-master.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { Report } from '../../protocol/report.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';

/** A machine's drills around a clone that answers what it is told to: when they begin, what ends them, what is remembered. */
const hour = 3_600_000;
const data = 'k3v9q2m4';
const round = { era: 1, epoch: 1, number: 7 };
const hosting = { ...hostedGitlab({ data }), host: 'K', epoch: 1 };
const healthy: Record<string, string> = {
  'gitlab:check': 'Redis: ... yes\n',
  'gitlab:doctor:secrets': 'Total: 0 row(s) affected\n',
  chpst: 'done 2 databases read whole; checksums of pages are on\n',
};

let home: string;
let wallMs: number;
let own: Partial<Report['measured']>;
let answers: Record<string, string>;
let began: string[];
let ended: number;
let released: string[];
let isDeployed: boolean;
let image: () => Promise<void>;
let boots: (signal: AbortSignal) => Promise<number>;
let masters: DrillMaster[];
let target: Drillable | null;

const report = () =>
  ({
    measured: { healthy: true, owner: 'away', paused: 'no', pausedBecause: null, ...own },
    ...{ runs: [], reserved: [] },
  }) as unknown as Report;
const view = () =>
  ({
    ...{ at: 0, wallMs, self: 'B', leader: null, liveness: () => ({ state: 'alive', since: 0 }) },
    jobs: { reports: { B: { report: report(), at: 0 }, K: { report: report(), at: 0 } } },
    ledger: {
      nodes: { B: { name: 'desktop-1' }, K: { name: 'kang' } },
      gitlab: isDeployed
        ? { mode: 'hosted', url: 'http://kang', host: 'K', epoch: 1, hosted: hosting }
        : { mode: 'none', url: null, host: null, epoch: 1 },
    },
  }) as never;

function begin(isAllowed = true): DrillMaster {
  const clones = {
    start: async ({ purpose }: { purpose: string }, { signal }: { signal: AbortSignal }) => {
      began.push(purpose);
      return {
        folders: { data: join(home, 'none') },
        untilItWorks: () => boots(signal),
        exec: async (argv: string[]) => ({
          code: 0,
          out: answers[argv[1] as string] ?? answers[argv[0] as string] ?? '',
        }),
        end: async () => void ended++,
      };
    },
  } as unknown as GitlabClones;
  const master = new DrillMaster({
    ...{ home, clones, isAllowed, view, mesh: () => 'm' },
    clock: { bootMs: () => wallMs, wallMs: () => wallMs },
    log: { info: () => undefined, warn: () => undefined },
    drillable: () => target,
    haveImage: () => image(),
    releaseImage: async (id) => void released.push(id),
  });
  masters.push(master);
  master.start();
  return master;
}

/** As the clocks go. */
async function pass(ms: number): Promise<void> {
  const step = ms > hour ? ms / 4 : ms;
  for (let left = ms; left > 0; left -= step) {
    wallMs += step;
    await vi.advanceTimersByTimeAsync(Math.min(step, 30_000));
  }
}
/** What a drill reads of a disk is in no played time. */
const over = (master: DrillMaster, count: number) =>
  vi.waitFor(async () => {
    await vi.advanceTimersByTimeAsync(1000);
    const { doing, last, ended: without } = master.seen().drill ?? {};
    expect([doing, Number(last != null) + Number(without != null) > 0, began.length]).toEqual([null, true, count]);
    // On a machine with much to do a second is short.
  }, 20_000);

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'setInterval', 'clearTimeout', 'clearInterval'] });
  home = mkdtempSync(join(tmpdir(), 't-drill-master-'));
  [wallMs, own, answers, began, ended, masters] = [1_000 * hour, {}, { ...healthy }, [], 0, []];
  [released, isDeployed] = [[], true];
  image = async () => undefined;
  boots = async () => 5;
  target = { hosting, place: {} as never, source: { hot: home, bulk: null }, round };
  // What the first step looks for.
  writeSecrets();
});
function writeSecrets(): void {
  const folder = join(home, 'config');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'gitlab-secrets.json'), '{"gitlab_rails":{}}');
}
afterEach(async () => {
  for (const master of masters) await master.stop();
  vi.useRealTimers();
  // A master that ends may still write down how.
  await rm(home, { recursive: true, force: true, maxRetries: 10, retryDelay: 20 });
});

it('drills an hour after the first copy, then each day, and knows so after a restart', async () => {
  const master = begin();
  await pass(1000);
  await pass(hour - 1000);
  expect(began).toEqual([]);
  await pass(2000);
  await over(master, 1);
  expect([began, ended]).toEqual([['drill'], 1]);
  expect(master.seen().drill).toMatchObject({ proven: { round }, last: { isProven: true }, ended: null, waits: null });
  expect(master.seen().drill?.last?.steps.map(({ step }) => step)).toContain('database');
  await master.stop();
  const next = begin();
  expect(next.seen().drill?.proven?.round).toEqual(round);
  await pass(20 * hour);
  expect(began).toHaveLength(1);
  await pass(5 * hour);
  await over(next, 2);
  // Another fourteenth each time.
  expect(JSON.parse(readFileSync(join(home, 'gitlab-drills.json'), 'utf8'))).toMatchObject({ part: 2 });
});

it('lets the image go with the last of what lay here, and not while its place is only not open', async () => {
  const copies = { agreed: ['B'], standbys: [{ node: 'B', because: '' }], bases: {}, set: { members: [], version: 1 } };
  Object.assign(hosting, { copies });
  const master = begin();
  await pass(1000);
  target = null;
  await pass(1000);
  expect([released, master.seen()]).toEqual([[], {}]);
  isDeployed = false;
  await pass(1000);
  expect(released).toEqual([data]);
  await pass(1000);
  expect(released).toEqual([data]);
});

it('a failed one stays until the next is clean; the last proof stays beside it', async () => {
  const master = begin();
  await pass(1000);
  await pass(hour);
  await over(master, 1);
  answers['gitlab:doctor:secrets'] = 'Total: 3 row(s) affected\n';
  await pass(25 * hour);
  await over(master, 2);
  expect(master.seen().drill).toMatchObject({
    last: { isProven: false, because: '3 rows of the database cannot be decrypted with the secrets file' },
    proven: { round },
  });
  answers = { ...healthy };
  await pass(7 * hour);
  await over(master, 3);
  expect(master.seen().drill?.last?.isProven).toBe(true);
});

it('ends at once for who comes back, without a verdict, and tries again later', async () => {
  boots = (signal) =>
    new Promise((_, reject) => signal.addEventListener('abort', () => reject(new AutogitError('clone', 'ended'))));
  const master = begin();
  await pass(1000);
  await pass(hour);
  await vi.waitFor(async () => {
    await vi.advanceTimersByTimeAsync(1000);
    expect(master.seen().drill?.doing?.phase).toBe('boots GitLab');
  });
  own = { owner: 'present' };
  await over(master, 1);
  expect(ended).toBe(1);
  expect(master.seen().drill).toMatchObject({ last: null, ended: { because: 'the owner of this machine is back' } });
  await pass(hour);
  expect([began.length, master.seen().drill?.waits]).toEqual([1, 'the owner of this machine is there']);
  own = {};
  boots = async () => 5;
  await pass(1000);
  await over(master, 2);
  expect(master.seen().drill?.last?.isProven).toBe(true);
});

it('what keeps it from a verdict is said, and none of GitLab’s fault', async () => {
  image = async () => {
    throw new AutogitError('image-missing', 'image x cannot be pulled', { hint: 'docker pull x' });
  };
  const master = begin();
  await pass(1000);
  await pass(hour);
  await pass(5_000);
  expect(master.seen().drill).toMatchObject({ last: null, waits: 'image x cannot be pulled -> docker pull x' });
  expect(began).toEqual([]);
});

it('refuses in words where it may not, and none is made by itself on the host', async () => {
  expect(() => begin(false).ask(data)).toThrow('the owner of this machine wants no drills on it');
  const master = begin();
  expect(() => master.ask('other')).toThrow('nothing of GitLab lies on this machine that can be tried');
  own = { paused: 'all', pausedBecause: 'paused by its owner: no new work' };
  expect(() => master.ask(data)).toThrow('no drill can begin on this machine: paused by its owner: no new work');
  own = { owner: 'present' };
  target = { ...(target as Drillable), round: null };
  await pass(48 * hour);
  expect([began, master.seen()]).toEqual([[], {}]);
  expect(master.ask(data)).toBe('a drill begins, from its living data: autogit-node gitlab');
  expect(() => master.ask(data)).toThrow('a drill is under way on this machine already');
  await pass(12_000);
  await over(master, 1);
  expect(master.seen().drill).toMatchObject({ last: { isProven: true, round: null } });
});

it('an agent that ends has written what it noted: nothing is written into its home afterwards', async () => {
  const master = begin();
  // The first question makes a note.
  expect(master.seen().drill).toBeDefined();
  await master.stop();
  const files = readdirSync(home).filter((name) => name.startsWith('gitlab-drills'));
  expect(files).toEqual(['gitlab-drills.json']);
});
