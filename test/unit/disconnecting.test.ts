import { createServer } from 'node:http';
import { describe, expect, it } from 'vitest';
import { GitlabEffects } from '../../node/agent/gitlab-effects.ts';
import type { Change } from '../../protocol/changes.ts';
import { abilities, type Ledger } from '../../protocol/ledger.ts';
import { leavingOf, whyNotDisconnect } from '../../scheduler/disconnecting.ts';
import type { Effect } from '../../scheduler/effects.ts';
import type { Happened } from '../../scheduler/inputs.ts';
import { isRefusal } from '../../scheduler/ledger-edit.ts';
import { applyChange } from '../../scheduler/membership.ts';
import { snapshot, why } from '../../scheduler/snapshot.ts';
import { jobRows } from '../../scheduler/snapshot-jobs.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { Lab, type LabOptions, wallStart } from './jobs-lab.ts';
import { labLedger, measured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

const connected = (ledger: Ledger): Ledger => ({
  ...ledger,
  nodes: Object.fromEntries(Object.entries(ledger.nodes).map(([id, node]) => [id, { ...node, can: [...abilities] }])),
});
const machines = { kang: measured(), 'desktop-1': measured() };
const labOf = (over: Partial<LabOptions> = {}): Lab =>
  new Lab({ machines, ...over, ledger: (ledger) => connected((over.ledger ?? ((one) => one))(ledger)) });

/** What was asked is committed. */
function commits(lab: Lab, change: Change): void {
  const after = applyChange(lab.accepted, change, lab.wallMs);
  if (isRefusal(after)) throw new Error(after.refused);
  lab.accepted = after;
  lab.committed = after;
  for (const name of lab.nodes.keys()) lab.feed(name, { kind: 'ticked' });
}
const asks = (lab: Lab, over: { now?: boolean; force?: boolean } = {}): void =>
  commits(lab, { kind: 'disconnect-gitlab', now: false, force: false, ...over });
const line = (lab: Lab, name = lab.leader ?? '') =>
  snapshot(viewOf(lab, name)).attention.find(({ code }) => code === 'gitlab-leaving');
const answered = (lab: Lab, because: string | null, left: number[] = []): void => {
  lab.feed(lab.leader ?? '', { kind: 'runners-removed', removed: because === null ? 2 : 0, left, because });
  lab.run(100);
};

/** The mesh's own GitLab in the place of the connected one; kang hosts it. */
const hosting = (ledger: Ledger): Ledger => ({
  ...ledger,
  gitlab: { ...ledger.gitlab, mode: 'hosted', host: 'kang', epoch: 1, hosted: hostedGitlab() },
});
const uninstalls = (lab: Lab, over: object = {}): void =>
  commits(lab, { kind: 'uninstall-gitlab', deleteData: false, ...over });

describe('gitlab uninstall (SAFETY J7, H7)', () => {
  it('its jobs are taken as any, then run to their end, its runners go, and only then its host may take it down', () => {
    const lab = labOf({ scriptMs: 20_000, ledger: hosting });
    lab.push(1);
    lab.run(3000);
    expect(lab.taken.map(({ job }) => job)).toEqual([1]);
    uninstalls(lab);
    lab.push(2);
    lab.run(4000);
    expect(lab.taken.map(({ job }) => job)).toEqual([1]);
    expect(why(viewOf(lab, 'kang'), 2)?.because).toBe('GitLab is being uninstalled: no job is taken');
    expect(lab.committed.gitlab.hosted?.ending?.drained).toBe(false);
    lab.run(40_000);
    expect(lab.effects('remove-runners')).toHaveLength(1);
    answered(lab, null);
    expect(lab.committed.gitlab).toMatchObject({ mode: 'hosted', host: 'kang', hosted: { ending: { drained: true } } });
    lab.run(60_000);
    expect(lab.effects('remove-runners')).toHaveLength(1);
    commits(lab, { kind: 'gitlab-ended', data: 'k3v9q2m4', epoch: 1 });
    expect(lab.committed.gitlab).toMatchObject({ mode: 'none', host: null, epoch: 1 });
  });

  it('one that answers nothing is asked twice for its runners, and goes', () => {
    const lab = labOf({ ledger: hosting });
    lab.run(1000);
    uninstalls(lab);
    lab.run(5000);
    answered(lab, 'GitLab is not reached');
    expect(lab.committed.gitlab.hosted?.ending?.drained).toBe(false);
    lab.run(20_000);
    expect(lab.effects('remove-runners').length).toBe(2);
    answered(lab, 'GitLab is not reached');
    expect(lab.committed.gitlab.hosted?.ending?.drained).toBe(true);
  });

  it('one that never stood has nothing to settle; with its host removed nothing is waited for', () => {
    const lab = labOf({
      ledger: (ledger) => ({ ...hosting(ledger), gitlab: { ...hosting(ledger).gitlab, url: null, token: null } }),
    });
    lab.run(1000);
    expect(lab.effects('read-queue')).toEqual([]);
    uninstalls(lab);
    lab.run(20_000);
    expect(lab.committed.gitlab.hosted?.ending?.drained).toBe(true);
    const asked = lab.committed;
    const { kang: _gone, ...nodes } = asked.nodes;
    expect(leavingOf(asked)).toMatchObject({ now: false, force: false });
    expect(leavingOf({ ...asked, nodes })).toMatchObject({ now: true, force: true });
  });
});

describe('gitlab disconnect (SAFETY J7)', () => {
  it('a run that came and was given up in one commit is committed before its runner goes, also by force', () => {
    const lab = labOf({ scriptMs: 20_000 });
    lab.push(1);
    while (lab.effects('take-job').length === 0) lab.run(5);
    asks(lab, { now: true, force: true });
    lab.commitMs = 3000;
    while (Object.values(lab.accepted.runs)[0]?.state !== 'lost') lab.run(5);
    expect(lab.committed.runs).toEqual({});
    lab.run(1500);
    expect(lab.effects('remove-runners')).toEqual([]);
    lab.run(20_000);
    expect(lab.effects('remove-runners')).toHaveLength(1);
  });

  it('the jobs that run end first, nothing new is taken, then runners and token go, and connecting works again', () => {
    const lab = labOf({ scriptMs: 20_000 });
    lab.push(1);
    lab.run(3000);
    expect(lab.taken.map(({ job }) => job)).toEqual([1]);
    asks(lab);
    lab.push(2);
    lab.push(3, ['linux']);
    lab.run(4000);
    expect(lab.taken.map(({ job }) => job)).toEqual([1]);
    expect(lab.effects('create-runner')).toHaveLength(1);
    expect(lab.effects('remove-runners')).toEqual([]);
    expect(why(viewOf(lab, 'kang'), 2)?.because).toBe('GitLab is being disconnected: no job is taken');
    for (const name of ['kang', 'desktop-1'])
      expect(line(lab, name)).toMatchObject({
        sentence: `GitLab at ${lab.committed.gitlab.url} is being disconnected: job 1 (job-1) runs to its end`,
        fix: 'to give up what runs: autogit-node gitlab disconnect --now',
      });
    lab.run(40_000);
    expect(lab.effects('remove-runners')).toHaveLength(1);
    expect(lab.committed.runs['run-1']?.state).toBe('delivered');
    const { url } = lab.committed.gitlab;
    answered(lab, null);
    expect(lab.committed.gitlab).toMatchObject({ mode: 'none', url: null, token: null, instance: null });
    expect(lab.committed.gitlab).not.toHaveProperty('leaving');
    expect(lab.committed.classes).toEqual({});
    expect(lab.committed.acts?.at(-1)?.sentence).toBe(`GitLab at ${url} is disconnected, 2 runners deleted there`);
    const reads = lab.effects('read-queue').length;
    lab.run(5000);
    expect(lab.effects('read-queue')).toHaveLength(reads);
    const again = applyChange(
      lab.accepted,
      { kind: 'connect-gitlab', url: 'http://other', token: 'fresh', instance: null, runnerTokens: [] },
      lab.wallMs,
    ) as Ledger;
    lab.accepted = again;
    lab.committed = again;
    lab.run(8000);
    expect(lab.taken.map(({ job }) => job).sort()).toEqual([1, 2, 3]);
  });

  it('what was read of its queue at that moment waits no more', () => {
    const lab = labOf();
    lab.run(3000);
    asks(lab);
    lab.push(2);
    lab.run(2000);
    lab.commitMs = 1;
    const leader = lab.leader ?? '';
    for (let reads = lab.effects('read-queue').length; lab.effects('read-queue').length === reads; ) lab.run(1);
    answered(lab, null);
    expect(lab.committed.gitlab.url).toBeNull();
    lab.run(5000);
    expect(jobRows(viewOf(lab, leader)).filter(({ state }) => state === 'waiting')).toEqual([]);
    expect(snapshot(viewOf(lab, leader)).queue.waiting).toBe(0);
  });

  it('--now gives up what runs: lost is committed, GitLab is told, and only then the runners go', () => {
    const lab = labOf({ scriptMs: 600_000, mute: ['fail-run'] });
    lab.push(1);
    lab.run(3000);
    asks(lab);
    lab.run(1000);
    asks(lab, { now: true });
    lab.run(3000);
    expect(lab.committed.runs['run-1']).toMatchObject({ state: 'lost', because: 'GitLab is disconnected, at once' });
    expect(lab.effects('drop-run')).toMatchObject([{ run: 'run-1' }]);
    expect(lab.effects('fail-run')).toMatchObject([{ run: { run: 'run-1' } }]);
    expect(lab.effects('remove-runners')).toEqual([]);
    lab.feed('kang', { kind: 'run-failed-at-gitlab', run: 'run-1', ok: true, because: 'told' });
    lab.run(15_000);
    expect(lab.effects('remove-runners')).toHaveLength(1);
    expect(lab.effects('retry-job')).toEqual([]);
  });

  it('--now waits for grants that are on their way before GitLab is told: the machine may be away, its run breathe, and GitLab try it again (SAFETY J1)', () => {
    const mute: Effect['kind'][] = [];
    const lab = labOf({ scriptMs: 600_000, mute });
    lab.push(1);
    lab.run(3000);
    const [{ node } = { node: '' }] = lab.taken;
    // Of the other one GitLab's answer is long on its way.
    mute.push('take-job');
    lab.push(2);
    lab.run(1500);
    if (node !== lab.leader) lab.vanish(node);
    for (const force of [false, true]) asks(lab, { now: true, force });
    lab.run(5000);
    expect(lab.committed.runs['run-1']).toMatchObject({ state: 'lost', because: 'GitLab is disconnected, at once' });
    expect([lab.effects('fail-run'), lab.effects('remove-runners')]).toEqual([[], []]);
    lab.run(15_000);
    expect(lab.effects('fail-run')).toMatchObject([{ run: { run: 'run-1' } }]);
  });

  it('a GitLab that is away is asked again and again, and with --force left, its runners named', () => {
    const lab = labOf();
    lab.push(1);
    lab.run(20_000);
    const { runner } = Object.values(lab.committed.classes)[0]!;
    asks(lab);
    lab.run(10_000);
    answered(lab, 'connection refused');
    expect(line(lab)).toMatchObject({
      severity: 'warn',
      sentence: expect.stringContaining('its runners are not deleted yet (connection refused)'),
      fix: 'not to wait for GitLab: autogit-node gitlab disconnect --force',
    });
    lab.run(10_000);
    expect(lab.effects('remove-runners').length).toBeGreaterThan(1);
    expect(lab.committed.gitlab.mode).toBe('connected');
    asks(lab, { force: true });
    lab.run(500);
    expect(lab.committed.gitlab).toMatchObject({ mode: 'none', token: null });
    expect(lab.committed.acts?.at(-1)?.sentence).toMatch(
      new RegExp(`; runner ${runner} is left there, to be deleted by hand \\(connection refused\\)$`),
    );
  });

  it('a GitLab that gave runner tokens only has nothing to delete: they are forgotten when nothing runs', () => {
    const lab = labOf({
      scriptMs: 20_000,
      ledger: (ledger) => ({
        ...ledger,
        gitlab: { ...ledger.gitlab, token: null },
        classes: {
          '': { tags: [], state: 'ready', nonce: 'given', runner: null, token: 't', lastUsedAt: 0, given: true },
        },
      }),
    });
    lab.push(1);
    lab.run(3000);
    expect(lab.taken).toHaveLength(1);
    asks(lab);
    lab.push(2);
    lab.run(1000);
    expect(lab.committed.gitlab.mode).toBe('connected');
    lab.run(40_000);
    expect(lab.committed.runs['run-1']?.state).toBe('delivered');
    expect(lab.committed.gitlab).toMatchObject({ mode: 'none', url: null });
    expect(lab.committed.classes).toEqual({});
    expect(lab.effects('remove-runners')).toEqual([]);
    expect(lab.taken).toHaveLength(1);
  });

  it('a new leader waits for the word of each machine: a grant of before may be on its way', () => {
    const lab = labOf();
    lab.run(5000);
    lab.node('desktop-1').up = false;
    lab.elect('kang');
    asks(lab);
    lab.run(20_000);
    expect(lab.effects('remove-runners')).toEqual([]);
    expect(line(lab)?.sentence).toContain('desktop-1 may be taking a job that a former leader gave it');
    lab.run(70_000);
    expect(lab.effects('remove-runners').length).toBeGreaterThan(0);
  });
});

describe('the change itself', () => {
  const ledger = connected(labLedger(['kang', 'desktop-1'], wallStart));
  const change = { kind: 'disconnect-gitlab', now: false, force: false } as const;

  it('becomes more urgent, never less; connecting ends it', () => {
    const once = applyChange(ledger, change, 1000) as Ledger;
    expect(leavingOf(once)).toMatchObject({ since: 1000, now: false, force: false });
    expect(applyChange(once, change, 2000)).toBe(once);
    const urgent = applyChange(once, { ...change, now: true }, 2000) as Ledger;
    expect(leavingOf(applyChange(urgent, { ...change, force: true }, 3000) as Ledger)).toMatchObject({
      since: 1000,
      now: true,
      force: true,
    });
    const connect: Change = { kind: 'connect-gitlab', url: 'http://b', token: 'b', instance: null, runnerTokens: [] };
    expect((applyChange(urgent, connect, 4000) as Ledger).gitlab).not.toHaveProperty('leaving');
  });

  it('is void for a GitLab that a leader of an earlier version connected meanwhile; follows the token sealed anew', () => {
    const once = applyChange(ledger, change, 1000) as Ledger;
    const kept = { ...once, gitlab: { ...once.gitlab, url: 'http://b', token: 'another sealed token of b' } };
    expect(leavingOf(kept)).toBeNull();
    const token = { was: once.gitlab.token as string, now: 'the same token, sealed anew', epoch: null };
    expect(leavingOf(applyChange(once, { kind: 'reseal', token }, 0) as Ledger)).not.toBeNull();
  });

  it('waits for an upgrade where a voter could not go on with it', () => {
    const { can: _can, ...older } = ledger.nodes['desktop-1']!;
    const voters = Object.fromEntries(Object.keys(ledger.nodes).map((id) => [id, { store: id, weight: 2 }]));
    const mixed = { ...ledger, nodes: { ...ledger.nodes, 'desktop-1': older }, configuration: { voters, next: null } };
    expect(whyNotDisconnect(mixed)).toMatch(/^desktop-1 runs an earlier version, .*: upgrade it first$/);
    expect(applyChange(mixed, change, 1)).toEqual({ refused: whyNotDisconnect(mixed) });
    // As a machine that does not vote it is no obstacle.
    const { 'desktop-1': _gone, ...rest } = voters;
    expect(whyNotDisconnect({ ...mixed, configuration: { voters: rest, next: null } })).toBeNull();
  });
});

describe('removing the runners at GitLab', () => {
  it('stops when GitLab was connected anew meanwhile, and does not touch runners that have jobs', async () => {
    const deleted: string[] = [];
    let jobs = '[{"id":7}]';
    let ledger = connected(labLedger(['kang'], wallStart));
    const ours = [1, 2, 3].map((id) => ({ id, description: `autogit ${ledger.mesh.id} n${id}` }));
    const server = createServer((request, response) => {
      response.setHeader('content-type', 'application/json');
      if (request.method === 'DELETE') {
        deleted.push(request.url ?? '');
        response.statusCode = 204;
        ledger = { ...ledger, gitlab: { ...ledger.gitlab, token: 'connected anew, another token' } };
        return response.end();
      }
      response.end(
        request.url?.includes('/jobs') ? jobs : JSON.stringify([...ours, { id: 9, description: 'a person' }]),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const url = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
      ledger = { ...ledger, gitlab: { ...ledger.gitlab, url } };
      ledger = applyChange(ledger, { kind: 'disconnect-gitlab', now: false, force: false }, 1) as Ledger;
      const fed: Happened[] = [];
      const effects = new GitlabEffects({
        ledger: () => ledger,
        seal: (text) => text,
        unseal: (text) => text,
        feed: (happened) => void fed.push(happened),
        warn: () => {},
      });
      const of = leavingOf(ledger)?.of ?? '';
      effects.handlers()['remove-runners']({ kind: 'remove-runners', of });
      await expect.poll(() => fed).toMatchObject([{ kind: 'runners-removed', because: expect.stringContaining('7') }]);
      expect(deleted).toEqual([]);
      jobs = '[]';
      effects.handlers()['remove-runners']({ kind: 'remove-runners', of });
      await expect.poll(() => deleted).toEqual(['/api/v4/runners/1']);
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(deleted).toHaveLength(1);
      expect(fed).toHaveLength(1);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});
