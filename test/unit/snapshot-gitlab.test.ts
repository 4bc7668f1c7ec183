import { describe, expect, it } from 'vitest';
import { applyChange } from '../../scheduler/membership.ts';
import { snapshot } from '../../scheduler/snapshot.ts';
import { Lab } from './jobs-lab.ts';
import { measured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

function connectedLab(): Lab {
  const lab = new Lab({ machines: { kang: measured({ memoryGiB: 126 }) } });
  lab.push(4815, ['cpu-2']);
  lab.run(20_000);
  return lab;
}

describe('attention of GitLab', () => {
  const attention = (lab: Lab) => snapshot(viewOf(lab, 'kang')).attention;

  it('a token that is refused (revoked, or of no admin any more) names the command that gives another (S4, A5)', () => {
    const lab = connectedLab();
    const because = 'the token is of root, who is no admin: GitLab hides its queue';
    const node = lab.node('kang');
    const { lead } = node.jobs;
    if (!lead) throw new Error('kang does not lead');
    node.jobs = { ...node.jobs, lead: { ...lead, queue: { ...lead.queue, askedAt: lab.at } } };
    lab.feed('kang', { kind: 'queue-failed', because, isRefused: true });
    lab.run(500);
    expect(attention(lab)[0]).toMatchObject({
      code: 'gitlab-token',
      sentence: `GitLab answers, but not to this mesh's token: ${because}; no job is taken`,
      fix: "with an admin's token (scope api) in VAR: autogit-node gitlab connect http://gitlab --token-env VAR",
    });
  });

  it('a token without scope sudo is said as long as it is the mesh’s, and of one that nobody knows nothing is said', () => {
    const lab = connectedLab();
    const codes = (): string[] => attention(lab).map(({ code }) => code);
    expect(codes()).not.toContain('token-without-sudo');
    const connect = {
      kind: 'connect-gitlab' as const,
      url: 'http://gitlab',
      token: 'sealed',
      instance: null,
      runnerTokens: [],
    };
    for (const [lacksSudo, said] of [
      [true, true],
      [undefined, false],
      [true, true],
      [false, false],
    ] as const) {
      const changed = applyChange(
        lab.committed,
        { ...connect, ...(lacksSudo !== undefined && { lacksSudo }) },
        lab.wallMs,
      );
      if ('refused' in changed) throw new Error(String(changed.refused));
      lab.committed = changed;
      lab.accepted = changed;
      expect([lacksSudo, codes().includes('token-without-sudo')]).toEqual([lacksSudo, said]);
    }
  });

  it.each([
    [undefined, null, ''],
    [31, null, ''],
    [30, 'info', ', in 30 days: the mesh renews it by itself on '],
    [8, 'info', ', in 8 days: the mesh renews it by itself on '],
    [7, 'warn', ', in 7 days, and could not be renewed yet'],
    [1, 'warn', ', in 1 day, and could not be renewed yet'],
    [0, 'fail', ': no job is taken'],
    [-40, 'fail', ': no job is taken'],
  ] as const)('a token that ends in %s days: %s', (days, severity, words) => {
    const lab = connectedLab();
    const at = (from: number): number => Math.floor(lab.wallMs / 86_400_000 + from) * 86_400_000;
    const day = (from: number): string => new Date(at(from)).toISOString().slice(0, 10);
    const { gitlab } = lab.committed;
    const ledger = { ...lab.committed, gitlab: { ...gitlab, ...(days !== undefined && { tokenEnds: at(days) }) } };
    lab.committed = ledger;
    lab.accepted = ledger;
    const said = attention(lab).filter(({ code }) => code === 'gitlab-token-ends');
    expect(said.map((one) => one.severity)).toEqual(severity === null ? [] : [severity]);
    if (severity === null || days === undefined) return;
    expect(said[0]?.sentence).toContain(`GitLab's token end${days > 0 ? 's' : 'ed'} on ${day(days)}${words}`);
    if (severity === 'info') expect(said[0]?.sentence).toContain(day(days - 7));
    expect(said[0]?.fix).toContain('autogit-node gitlab connect http://gitlab --token-env VAR');
  });

  it('a runner that GitLab does not know, and a job that it gave to nobody', () => {
    const lab = connectedLab();
    const [key = ''] = Object.keys(lab.committed.classes);
    const entry = lab.committed.classes[key];
    if (!entry) throw new Error('the example has no class');
    const given = {
      ...entry,
      tags: ['fast', 'gpu'],
      given: true,
      lost: 'GitLab does not know the runner token for fast,gpu',
    };
    const rescue = {
      projectId: 7,
      since: lab.wallMs,
      retry: true,
      because: 'GitLab has called job 9 running for 30 s',
    };
    const classes = { [key]: { ...entry, lost: 'GitLab does not know runner 1 any more' }, 'fast,gpu': given };
    lab.committed = { ...lab.committed, classes, rescues: { 9: rescue } };
    lab.accepted = lab.committed;
    expect(attention(lab).map(({ code, fix }) => [code, fix])).toEqual([
      ['runner-token', "autogit-node gitlab connect http://gitlab --runner-token-env VAR --tags 'fast,gpu'"],
      ['runner-lost', null],
      ['tags-unsatisfiable', 'on a machine that has it: autogit-node join --label fast'],
      ['job-rescue', null],
    ]);
  });

  it('a runner token whose tags no machine has (newcomer S6)', () => {
    const lab = connectedLab();
    const [entry] = Object.values(lab.committed.classes);
    if (!entry) throw new Error('the example has no class');
    const fits = { ...entry, tags: ['cpu-2'], given: true };
    lab.committed = { ...lab.committed, classes: { 'cpu-2': fits } };
    expect(attention(lab)).toEqual([]);
    lab.committed = { ...lab.committed, classes: { 'fast,gpu': { ...entry, tags: ['fast', 'gpu'], given: true } } };
    expect(attention(lab)).toMatchObject([{ code: 'tags-unsatisfiable', severity: 'warn' }]);
    expect(attention(lab)[0]?.sentence).toContain(
      'no machine here has fast and gpu: jobs of this runner token wait in GitLab',
    );
  });
});
