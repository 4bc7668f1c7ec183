import { describe, expect, it } from 'vitest';
import { gitlabView } from '../../node/cli/gitlab-commands.ts';
import { whyNotRestored } from '../../node/cli/gitlab-protect.ts';
import type { Change } from '../../protocol/changes.ts';
import { abilities, type Ledger } from '../../protocol/ledger.ts';
import type { ProtectedSeen } from '../../protocol/report.ts';
import { whyNot } from '../../scheduler/raft/acts.ts';
import { snapshot } from '../../scheduler/snapshot.ts';
import { applied, refusedAt } from '../fixtures/applied-changes.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { Lab } from './jobs-lab.ts';
import { measured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

const now = 1_800_000_000_000;
const wanted = { node: 'K', data: 'k3v9q2m4', container: 'gitlab', folder: '/srv/gitlab/data' };
const protect = (over: Partial<typeof wanted> = {}) =>
  ({ kind: 'protect-gitlab', protected: { ...wanted, ...over }, because: 'asked on kang' }) as const;
const end = { kind: 'protect-gitlab', protected: null, because: 'asked on kang' } as const;
const apply = applied(now);
const refusal = refusedAt(now);

function mesh(can: string[] = [...abilities]): Ledger {
  const ledger = foundedMesh({ wallMs: now });
  const { K } = ledger.nodes;
  const voters = { ...ledger.configuration.voters, D: { store: 'd', weight: 2 as const } };
  return {
    ...ledger,
    configuration: { voters, next: null },
    nodes: { K: { ...K!, can: [...abilities] }, D: { ...K!, name: 'desktop-1', can } },
  };
}

/** The same, where D does not vote. */
const alone = (): Ledger => ({ ...mesh(), configuration: foundedMesh({ wallMs: now }).configuration });

describe('a protected GitLab in the ledger', () => {
  it('is remembered once, keeps the name of its data, and is ended; connecting leaves it as it is', () => {
    const one = apply(mesh(), protect());
    expect(one.gitlab.protected).toEqual({ ...wanted, since: now, because: 'asked on kang' });
    expect(apply(one, protect({ data: 'another1' }))).toBe(one);
    // The container has another name by now: the backups go on.
    expect(apply(one, protect({ data: 'another1', container: 'lab-gitlab-1' })).gitlab.protected).toMatchObject({
      data: 'k3v9q2m4',
      container: 'lab-gitlab-1',
    });
    const connect: Change = {
      kind: 'connect-gitlab',
      url: 'http://g',
      token: 'sealed',
      instance: null,
      runnerTokens: [],
    };
    expect(apply(one, connect).gitlab.protected).toEqual(one.gitlab.protected);
    expect(apply(one, end).gitlab).not.toHaveProperty('protected');
    expect(apply(mesh(), end)).toEqual(mesh());
  });

  it('asked again by who agrees to kept snapshots it keeps them, under the name that its data have', () => {
    const one = apply(mesh(), protect());
    const keeping = { ...protect(), protected: { ...wanted, data: 'another1', keeps: true } };
    expect(apply(one, keeping).gitlab.protected).toMatchObject({ data: wanted.data, keeps: true });
    expect(apply(apply(one, keeping), keeping)).toEqual(apply(one, keeping));
  });

  it('ends with the machine that it runs on', () => {
    const one = apply(mesh(), protect({ node: 'D' }));
    expect(apply(one, { kind: 'forget', node: 'desktop-1' }).gitlab).not.toHaveProperty('protected');
  });

  it('is refused with a sentence: another one, a stranger, an own one, an earlier version, who does not vote', () => {
    const one = apply(mesh(), protect());
    expect(refusal(one, protect({ folder: '/other' }))).toMatch(/in container gitlab on kang already.*--end first/);
    expect(refusal(mesh(), protect({ node: 'X' }))).toBe('X is no machine of this mesh');
    const hosted: Ledger = { ...mesh(), gitlab: { ...mesh().gitlab, mode: 'hosted' } };
    expect(refusal(hosted, protect())).toMatch(/runs its own GitLab, and backs that up/);
    expect(refusal(mesh(['vault']), protect({ node: 'D' }))).toMatch(/desktop-1 runs an earlier version/);
    expect(whyNot(alone(), protect(), 'D')).toMatch(/does not vote/);
  });

  it('is refused on a machine that does not vote, for it would fail only when its backup needs the key', () => {
    const ofD = protect({ node: 'D' });
    expect(refusal(alone(), ofD)).toMatch(/desktop-1 does not vote.*open the key.*: autogit-node status -o wide$/);
    const with_ = (over: object): Ledger => {
      const one = alone();
      return { ...one, nodes: { ...one.nodes, D: { ...one.nodes.D!, ...over } } };
    };
    expect(refusal(with_({ drained: true }), ofD)).toMatch(/: autogit-node undrain desktop-1$/);
    const seven = Object.fromEntries([...'KABCEFG'].map((node) => [node, { store: node, weight: 2 as const }]));
    const nodes = Object.fromEntries([...'ABCEFG'].map((name) => [name, { ...alone().nodes.K!, name }]));
    const full: Ledger = {
      ...alone(),
      configuration: { voters: seven, next: null },
      nodes: { ...nodes, ...alone().nodes },
    };
    expect(refusal(full, ofD)).toMatch(/7 do so already.*: autogit-node drain kang$/);
    expect(apply(mesh(), ofD).gitlab.protected?.node).toBe('D');
  });
});

describe('a protected GitLab in status', () => {
  const vault = { last: null, checkedAt: null, doing: null, problem: null, restored: null };
  const seen: ProtectedSeen = {
    data: wanted.data,
    version: '17.5.1',
    way: 'snapshot',
    because: 'it is on btrfs',
    missing: null,
    vault,
  };

  function shown(said: Partial<ProtectedSeen> | null, target: string | null = '/mnt/disk') {
    const lab = new Lab({ machines: { kang: measured({ memoryGiB: 64 }), 'desktop-1': measured({ memoryGiB: 64 }) } });
    lab.run(3_000);
    const node = Object.entries(lab.committed.nodes).find(([, one]) => one.name === 'kang')?.[0] as string;
    const keep = { daily: 7, weekly: 4, monthly: 6 };
    const place = { target: target ?? '', repository: '7f0e2902889beb10', secret: 's', everyMs: 86_400_000, keep };
    const known = { ...wanted, node, since: lab.wallMs, because: 'asked' };
    const gitlab = {
      ...lab.committed.gitlab,
      protected: known,
      ...(target === null ? {} : { vault: { ...place, since: 0, because: '' } }),
    };
    lab.committed = { ...lab.committed, gitlab };
    lab.accepted = lab.committed;
    if (said !== null) lab.feed('kang', { kind: 'protected-seen', report: { ...seen, ...said } });
    lab.run(3_000);
    return { lab, told: snapshot(viewOf(lab, 'desktop-1')) };
  }
  const lines = ({ told }: ReturnType<typeof shown>) =>
    told.attention.filter(({ code }) => /^gitlab-(protected|backup)$/.test(code)).map(({ sentence }) => sentence);

  it('shows where it is, how it is backed up, and the newest backup, on every machine', () => {
    const made = shown({ vault: { ...vault, last: { id: '7f0e2902', at: now } } });
    expect(made.told.gitlab).toMatchObject({
      protected: { node: 'kang', container: 'gitlab', way: 'snapshot', version: '17.5.1', because: 'it is on btrfs' },
      lastBackup: { id: '7f0e2902', copies: ['/mnt/disk'] },
    });
    expect(gitlabView(made.told, true)).toMatch(/^protected +container gitlab on kang, GitLab 17\.5\.1, data in/m);
    expect(gitlabView(made.told, true)).toMatch(/^way +snapshots: it is on btrfs/m);
  });

  it('says why none is made: no place, gone, stopped, its machine silent', () => {
    expect(lines(shown({}, null))).toEqual([expect.stringMatching(/to be backed up, and no place for that is named/)]);
    const stopped = shown({ missing: 'container gitlab is exited: docker start gitlab' });
    expect(lines(stopped)[0]).toMatch(/GitLab on kang is not backed up: container gitlab is exited/);
    stopped.lab.node('kang').liveness = { state: 'silent', since: stopped.lab.at };
    expect(lines({ ...stopped, told: snapshot(viewOf(stopped.lab, 'desktop-1')) })[0]).toMatch(
      /kang, which makes them, does not answer/,
    );
    // Of another GitLab than the ledger's nothing is told.
    expect(shown({ data: 'another1' }).told.gitlab.protected?.because).toMatch(/has not said anything of it yet/);
  });

  it('a restore says the steps for that backup and changes nothing', () => {
    const row = { id: '7f0e2902', at: now, version: '17.5.1', epoch: 1, isOwn: true, because: '' };
    const known = shown({}).told.gitlab.protected!;
    const one = whyNotRestored(row, known, '/mnt/disk');
    expect([one.message, one.hint]).toEqual([
      expect.stringMatching(/puts nothing back into it/),
      expect.stringMatching(/gitlab deploy.*gitlab restore 7f0e2902.*restic -r \/mnt\/disk restore 7f0e2902/),
    ]);
    expect(whyNotRestored(row, { ...known, way: 'own' }, null).hint).toMatch(/gitlab-backup restore/);
  });
});
